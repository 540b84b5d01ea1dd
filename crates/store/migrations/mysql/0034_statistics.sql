-- A server gathers statistics of its tables by itself; a file gets them from its migration of this number.
DO 0;
