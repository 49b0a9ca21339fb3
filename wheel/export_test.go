package wheel

// Helpers of tests that import packages which import this one.
var (
	EqualsPips = equalsPips
	Run        = run
)
