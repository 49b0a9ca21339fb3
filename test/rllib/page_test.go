package rllib

import (
	"bytes"
	"fmt"
	"runtime"
	"time"
)

// up is how long a cluster took to start.
type up struct {
	cpus    int
	seconds float64
}

// page is what the test measured.
type page struct {
	image   image
	started time.Time
	ups     []up
	rows    []row
}

// markdown is docs/rllib.md.
func (p *page) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# RLlib on real Ray

Made by `+"`make test-rllib`"+` on %s, on a machine with %d CPUs that other work shared. The image is that of
[examples/training](../examples/training): Ray 2.60.0 and torch from PyPI, %d wheels, %d layers, **%.2f GB** compressed. Base image, conda,
installer and the Debian mirror are the offline package world's. It was resolved, built and pushed in **%.0f s**, with nothing cached.

`, p.started.Format("2 January 2006"), runtime.NumCPU(), p.image.packages, p.image.layers, float64(p.image.packed)/1e9, p.image.seconds)
	for i, u := range p.ups {
		what := "with the image pulled"
		if i > 0 {
			what = "with the image there"
		}
		fmt.Fprintf(&b, "* `raybuild cluster up` of %d CPUs: %.0f s, %s.\n", u.cpus, u.seconds, what)
	}
	b.WriteString("\nEach program was sent by `raybuild cluster submit`, and ended with exit code 0 as soon as its goal was reached.\n\n" +
		"| program | CPUs of the cluster | seconds | iterations | mean return, first | last | what it left |\n" +
		"| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range p.rows {
		fmt.Fprintf(&b, "| `%s` | %d | %.0f | %d | %.2f | %.2f | %s |\n", r.program, r.cpus, r.seconds, r.iterations, r.first, r.last, r.did)
	}
	b.WriteString("\nNo episode is in the record twice. With as many workers as CPUs `ppo.py` ends at once, and says how many it may have. " +
		"A cluster of 6 CPUs on fewer real ones is no faster than one of 2: the numbers are Ray's, and what is tested is that nothing waits for ever.\n")
	return b.Bytes()
}
