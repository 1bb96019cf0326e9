#!/bin/sh
# Your own picture, from file to video: find the person, record consent, render.
#
#     examples/own_picture.sh me.png "Ada Example" speech.wav me.mp4
#
# Run it in the project's folder. REGISTRY names the consent registry (default: your own).
set -eu
picture=$1 name=$2 speech=$3 out=$4
python=${PYTHON:-.venv/bin/python}
registry=${REGISTRY:+--registry $REGISTRY}

# 1. Landmarks, written beside the picture, and a preview to look at before going on.
$python -m pipeline.enrol "$picture" --preview "$picture.preview.png"

# 2. Consent: a record for exactly this file. Its id is the first word that is printed.
consent=$($python -m server.cli.command consent add $registry --image "$picture" --subject "$name" \
    --kind self --adult --statement "I agree that my picture speaks what I feed it." | awk '{print $1}')

# 3. The video.
$python -m pipeline.render --avatar me --image "$picture" --consent "$consent" $registry \
    --audio "$speech" --out "$out"
