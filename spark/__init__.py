"""A Spark cluster on this machine, to test and practise on."""
