"""One file for each framework: what to change so that it trains with hard pixel mining."""
