"""Free prose for training; README.md beside this file names sources and licences."""
