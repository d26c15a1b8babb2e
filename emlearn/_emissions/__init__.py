"""What a user says of the observations, for hidden Markov models and mixtures alike."""
