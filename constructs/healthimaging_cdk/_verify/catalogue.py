"""All experiments, the cheapest first."""

from __future__ import annotations

from healthimaging_cdk._verify import _jobs, _keys_and_places, _rights, _stacks, _stores

EXPERIMENTS = tuple(
    sorted(
        (
            *_jobs.EXPERIMENTS,
            *_rights.EXPERIMENTS,
            *_stores.EXPERIMENTS,
            *_stacks.EXPERIMENTS,
            *_keys_and_places.EXPERIMENTS,
        ),
        key=lambda experiment: (experiment.usd, experiment.minutes, experiment.name),
    )
)
