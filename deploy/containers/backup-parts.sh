# shellcheck shell=bash disable=SC2034
# What a backup of the container stack consists of; read by `backup` and `restore`.

format=1
settings=$(docker compose config --format json) || exit 1
secrets_dir=$(sed -n 's/^ *"file": "\(.*\)\/fernet_key"$/\1/p' <<< "$settings")
databases=(airflow mlflow mlflow_auth)
# Name of the archive, a service that sees the volume, and where.
volumes=(
  "data worker /var/lib/biometric"
  "artifacts mlflow /var/lib/mlflow/artifacts"
  "logs worker /opt/airflow/logs"
)
# The data are of no use without these: connections, pseudonyms and MLflow's users are made with them.
keys=(fernet_key pseudonym_key mlflow_password)

die() { echo "error: $*" >&2; exit 1; }

grep -q '^ *"POSTGRES_HOST": "postgres",\{0,1\}$' <<< "$settings" ||
  die "backup and restore don't serve a stack whose Postgres is elsewhere (POSTGRES_HOST): see docs/backup.md"

# One at a time: a second one would find everything paused, and the first wakes it under its hands.
# The stack's own key is the lock, so that no file is left.
lock_stack() {
  exec 9< "$secrets_dir/fernet_key"
  flock --nonblock 9 || die "another backup or restore of this stack is under way: wait until it ends"
}

# once SERVICE PROGRAM [ARGUMENT ...]: a program in a container of its own, with the service's volumes.
once() {
  local service=$1 program=$2
  shift 2
  docker compose run --rm --no-deps --no-TTY --quiet-pull --entrypoint "$program" "$service" "$@"
}

# Tells whether a secret is the same one, without telling it: they are long and random.
fingerprint() { sha256sum < "$1" | cut -c 1-16; }

image_of() {
  sed -n "/^    \"$1\": {\$/,/^    }/ s/^      \"image\": \"\(.*\)\",\{0,1\}\$/\1/p" <<< "$settings"
}

# in_postgres PROGRAM [ARGUMENT ...]: a client program beside the server, as its own user.
in_postgres() {
  # shellcheck disable=SC2016  # the container's variable
  docker compose exec --no-TTY postgres sh -c 'program=$1; shift; exec "$program" --username "$POSTGRES_USER" "$@"' - "$@"
}

# Not by Compose: it would make volumes.
versions() {
  docker run --rm --entrypoint python "$(image_of worker)" -c 'from importlib.metadata import version
from biometric_core import __version__
print(f"product={__version__}")
for name in ("apache-airflow", "mlflow"):
    print(f"{name}={version(name)}")'
  echo "postgres=$(docker run --rm --entrypoint postgres "$(image_of postgres)" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')"
}
