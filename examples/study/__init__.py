"""A controlled study of the losses: many arms, many seeds, paired by seed, on the same frames.

python -m examples.study run --data DIR --output OUT
python -m examples.study report OUT
"""
