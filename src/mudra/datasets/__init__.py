"""One module a data set: its facts and the rules by which it is read. `puppets` is the built-in one."""
