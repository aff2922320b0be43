"""The engine on Redis and Valkey; needs ``pip install 'fanout[redis]'``."""

from fanout.redis.engine import RedisEngine

__all__ = ["RedisEngine"]
