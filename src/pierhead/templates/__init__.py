"""Go's templates, as far as Docker's users write them: ``--format`` of commands, tags of logs.  Pure."""
