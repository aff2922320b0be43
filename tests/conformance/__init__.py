"""What every engine must do; see ``engines.py`` for adding one."""
