"""Tests of the peers that say nothing of emlearn, each with its reason: patterns of names, by suite.

A test that matches, and passes all the same, counts as passing.
"""

PRIVATE = "asks for private functions or attributes"
SPARSE = "sparse matrices, which are refused"
ROUNDS = "asks for the order, the number or the parts of chained equations"
POSTERIORS = (
    "sets the posterior of each parameter by hand as where to start; HMMEM has prior=, a whole posterior"
)

NOT_APPLICABLE = {
    "sklearn-mixture": [
        (r"test_compare_covar_type|precisions_init\[|all_init_does_not_estimate", PRIVATE),
        (r"test_multiple_init", "takes it that the default is one start: it is n_init=40"),
        (r"test_score\[float32\]", "log-densities are doubles, whatever the type of X"),
        (r"test_regularisation", "more components than distinct rows, which is refused"),
        (
            r"::test_init$",
            "compares starts by likelihood: the higher one is a spurious component, and lost for that",
        ),
        (
            r"test_gaussian_mixture\.py::test_monotonic_likelihood",
            "asks for tol=1e-7 in 600 fits of one iteration: tol is not of the last gain, but of those to come",
        ),
    ],
    "sklearn-impute": [
        (r"sparse|csr_|csc_|test_imputation_pipeline_grid_search|test_imputation_copy", SPARSE),
        (r"test_imputation_mean_median_error_invalid_type", "texts are categories, which are imputed too"),
        (
            r"test_imputation_deletion_warning",
            "features without entries are warned of at fit, not at transform",
        ),
        (
            r"one_feature|zero_iters|imputation_order|imputer_estimators|early_stopping|constant_fill_value",
            ROUNDS,
        ),
        (
            r"skip_non_missing\[True\]",
            "skip_complete=True: regressions of what was complete at fit are not made",
        ),
        (r"min_max_array_like\[", PRIVATE),
        (r"imputer_all_missing", "nothing but missing entries, which is refused"),
        (
            r"truncated_normal_posterior",
            "limits cut what is drawn; draws are not from a truncated distribution",
        ),
    ],
    "hmmlearn": [
        (r"_check_and_set_", PRIVATE),
        (r"test_fit_ignored_init_warns", "attributes that a fit overwrites: HMMEM refuses to have them set"),
        (r"test_fit_too_little_data", "reads a private method's log: HMMEM warns, of the fit"),
        (r"test_underflow_from_scaling\[scaling", "expects scaled arithmetic to fail, which does not here"),
        (
            r"GMMHMMWithTiedCovars",
            "a covariance for each state that its Gaussians share: with emission='gmm' all states share it",
        ),
        (
            r"test_chunked",
            "asks six Gaussians on three clusters for the same fit with and without breaks between sequences",
        ),
        (
            r"variational_gaussian\.py::\w+::test_random_fit",
            "asks for a second iteration to gain: one is enough",
        ),
        (r"variational_\w+\.py::\w+::test_(common_)?initialization|test_init_incorrect_priors", POSTERIORS),
        (
            r"test_fit_and_compare_with_em|test_fit_mcgrory",
            "asks for hmmlearn's own start, and for densities at mean parameters: HMMEM integrates them out",
        ),
        (r"TestMultinomialHMM::test_sample", "asks for sampling to be refused without n_trials"),
    ],
}
