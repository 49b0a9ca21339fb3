package main

// cause says why a row may fall short: what of the work is there for everybody, or for raybuild alone.
type cause struct{ seconds, pulled string }

func causes() map[string]cause {
	return map[string]cause{}
}
