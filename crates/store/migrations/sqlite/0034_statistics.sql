-- What the database supposes of its tables when it chooses an index: about a million of what is kept, of which few are on their way.
-- It gathers nothing by itself, and takes the index of stages for as good as a key: it went through all slots of a stage, the final
-- ones too, for the hundred that a statement names (https://www.sqlite.org/lang_analyze.html, "Fixed Results Of ANALYZE").
-- Samples that somebody has gathered by hand do not fit these figures. Dropped, other connections read the new ones too.
DROP TABLE IF EXISTS sqlite_stat1;
DROP TABLE IF EXISTS sqlite_stat4;
ANALYZE sqlite_schema;
-- The rows of the table, and how many of them have the same first column, the same first two, and so on.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('attempts', 'sqlite_autoindex_attempts_1', '1000000 1'),
    ('attempts', 'sqlite_autoindex_attempts_2', '1000000 2 1'),
    ('bindings', 'sqlite_autoindex_bindings_1', '1000000 2 1'),
    ('bindings', 'sqlite_autoindex_bindings_2', '1000000 1 1'),
    ('slots', 'slots_by_sender', '1000000 1000000 5000 10 1 noskipscan'),
    ('slots', 'slots_by_stage', '1000000 10000 10000 10'),
    ('slots', 'sqlite_autoindex_slots_1', '1000000 1'),
    ('slots', 'sqlite_autoindex_slots_2', '1000000 1000000 100000 1'),
    ('withdrawals', 'sqlite_autoindex_withdrawals_1', '1000000 1'),
    ('withdrawals', 'sqlite_autoindex_withdrawals_2', '1000000 100000 1'),
    ('withdrawals', 'sqlite_autoindex_withdrawals_3', '1000000 1000000 1'),
    ('withdrawals', 'withdrawals_by_tenant', '1000000 100000 1'),
    ('work', 'sqlite_autoindex_work_1', '100000 1'),
    ('work', 'work_by_turn', '100000 20000 20000 100 1 1 noskipscan');
ANALYZE sqlite_schema;
