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
	image    image
	unpacked int64 // bytes on the host, as its Docker Engine counts them
	started  time.Time
	ups      []up
	rows     []row
}

// head is the page's beginning; the values are those of markdown.
const head = `# RLlib on real Ray

Made by "make test-rllib" on %s, on a machine with %d CPUs that other work shared. The image is that of
[examples/training](../examples/training): Ray 2.60.0 and torch from PyPI, %d wheels, %d layers, **%.2f GB**
compressed and %.1f GB on the host. Base image, conda, installer and the Debian mirror are the offline package
world's. It was resolved, built and pushed in **%.0f s**, with nothing cached.

`

const middle = `
Each program was sent by "raybuild cluster submit" and ended with exit code 0 as soon as its goal was reached.

| program | CPUs of the cluster | seconds | iterations | mean return, first | last | what it left |
| --- | --- | --- | --- | --- | --- | --- |
`

const tail = `
No episode is in the record twice: Arrow counts as many different rows as rows. With as many workers as CPUs "ppo.py"
ends at once, and says how many it may have. Six CPUs of Ray on fewer real ones are no faster than two: what the six
show is that three nodes share one record, and that nothing waits for ever.
`

// markdown is docs/rllib.md.
func (p *page) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, head, p.started.Format("2 January 2006"), runtime.NumCPU(), p.image.Packages, p.image.Layers,
		float64(p.image.Packed)/1e9, float64(p.unpacked)/1e9, p.image.Seconds)
	for i, u := range p.ups {
		what := "with the image pulled"
		if i > 0 {
			what = "with the image there"
		}
		fmt.Fprintf(&b, "* \"raybuild cluster up\" of %d CPUs: %.0f s, %s.\n", u.cpus, u.seconds, what)
	}
	b.WriteString(middle)
	for _, r := range p.rows {
		fmt.Fprintf(&b, "| %q | %d | %.0f | %d | %.2f | %.2f | %s |\n",
			r.program, r.cpus, r.seconds, r.iterations, r.first, r.last, r.did)
	}
	b.WriteString(tail)
	return bytes.ReplaceAll(b.Bytes(), []byte{'"'}, []byte{'`'})
}
