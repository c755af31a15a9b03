from nydus.missing import missing
from pindb.redis.backends.memcached import Memcached as Memcache  # noqa: F401

regroup_commands = missing("regroup_commands")
grouped_args_for_command = missing("grouped_args_for_command")
can_group_commands = missing("can_group_commands")
