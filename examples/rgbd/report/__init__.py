"""What a person looks at: sentences, tables and panels."""
