"""The core suite's contenders: in-process publish and subscribe, by six implementations."""
