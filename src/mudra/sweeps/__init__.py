"""Sweeps: one recipe trained with many settings, ranked on validation.

study       what a study file may say, typed, and the recipe of each of its trials
claims      which process runs which trial: taken, kept and taken over in single transactions
storage     what is known of the trials, in Optuna's tables
worker      one process that takes trials until none is left
standing    how the study stands: a row a trial
"""
