-- Who may do what in hpo's database. psql runs it as the superuser at each start of the stack: it makes the roles that are
-- missing and puts right what it finds, so a database that is older than its roles gets them too.
--
--   hpo_owner      makes and migrates tables, creates and deletes studies     init
--   hpo_worker     reads, inserts and updates rows; deletes none              worker
--   hpo_dashboard  reads; where notes may be written, also what a worker may  dashboard
--
-- None is a superuser: such a one runs programs on the server (COPY ... FROM PROGRAM) and reads its files.
-- By hand, with the passwords in DIR/owner/password, DIR/worker/password and DIR/dashboard/password:
--   psql --single-transaction -v ON_ERROR_STOP=1 -v secrets=DIR -d hpo -f database-roles.sql

\set owner_password `head -n 1 :'secrets'/owner/password`
\set worker_password `head -n 1 :'secrets'/worker/password`
\set dashboard_password `head -n 1 :'secrets'/dashboard/password`
\set writable ''
\getenv writable HPO_DASHBOARD_WRITABLE
SELECT lower(:'writable') IN ('1', 'true', 't', 'yes', 'y', 'on') AS is_writable \gset

SET client_min_messages = error;
SET lock_timeout = '30s'; -- a table's owner changes once, and not while a transaction holds the table
SET log_statement = none; -- passwords stay out of the server's log,
SET log_min_error_statement = panic; -- also where one of these fails

SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['hpo_owner', 'hpo_worker', 'hpo_dashboard']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
SELECT format('ALTER ROLE %I LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', name)
FROM unnest(ARRAY['hpo_owner', 'hpo_worker', 'hpo_dashboard']) AS name \gexec
ALTER ROLE hpo_owner PASSWORD :'owner_password';
ALTER ROLE hpo_worker PASSWORD :'worker_password';
ALTER ROLE hpo_dashboard PASSWORD :'dashboard_password';

-- What an earlier superuser made becomes the owner's. Sequences follow the tables that they number.
SELECT format('ALTER TABLE %s OWNER TO hpo_owner', oid::regclass) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relowner <> 'hpo_owner'::regrole \gexec
SELECT format('ALTER TYPE %s OWNER TO hpo_owner', oid::regtype) FROM pg_type
WHERE typnamespace = 'public'::regnamespace AND typtype = 'e' AND typowner <> 'hpo_owner'::regrole \gexec

REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO hpo_owner, hpo_worker, hpo_dashboard;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO hpo_owner, hpo_worker, hpo_dashboard;
GRANT CREATE ON SCHEMA public TO hpo_owner;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM hpo_worker, hpo_dashboard;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO hpo_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO hpo_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO hpo_dashboard;
-- The same for tables that the owner will make.
ALTER DEFAULT PRIVILEGES FOR ROLE hpo_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE ON TABLES TO hpo_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE hpo_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO hpo_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE hpo_owner IN SCHEMA public GRANT SELECT ON TABLES TO hpo_dashboard;

\if :is_writable
GRANT hpo_worker TO hpo_dashboard;
\else
REVOKE hpo_worker FROM hpo_dashboard;
\endif
