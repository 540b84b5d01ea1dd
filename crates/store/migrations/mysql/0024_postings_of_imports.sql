-- Two more kinds of posting: what reconcile finds paid for a payer that nobody knows, and its claim by that payer.
ALTER TABLE postings
    DROP CONSTRAINT postings_kind_is,
    ADD CONSTRAINT postings_kind_is
        CHECK (kind IN ('deposit', 'reserve', 'settle', 'unsettle', 'release', 'import', 'claim'));
