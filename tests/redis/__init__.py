"""The engine on Redis and Valkey, beyond what every engine must do."""
