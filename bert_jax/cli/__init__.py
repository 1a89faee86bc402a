"""What every command line has in common: flags parsed, mistakes in one line, tables printed."""
