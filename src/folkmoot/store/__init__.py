"""Where everything is kept: the tables, their migrations, and the two engines that run statements on them."""
