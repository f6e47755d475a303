"""Write, audit, publish: the build file, and the swap that makes an audited build the published file."""
