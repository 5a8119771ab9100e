"""Everything found by name, in the user's project and then in the standard one."""
