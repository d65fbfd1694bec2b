#!/bin/sh
# Installs Folkmoot into a folder of its own: install.sh FOLDER. The container image and the systemd unit use it.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
"${PYTHON:-python3}" -m venv "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check \
    --constraint "$source/requirements.lock" "$source[anthropic,google,documents,otel]"
