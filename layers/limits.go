package layers

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/strictyaml"
	"github.com/raybuild/raybuild/llb"
)

// What limits of a recipe may be. Less memory than leastMemory starts no container, and fewer processes no shell.
const (
	leastMemory = 32 << 20
	mostMemory  = 1 << 50
	leastPIDs   = 16
	mostPIDs    = 1 << 22 // of Linux (proc(5), pid_max)
	mostTime    = 7 * 24 * time.Hour
)

// limitKeys are the keys of limits: of all commands, or of a step.
func limitKeys(l *llb.Limits, others string) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "memory", Doc: "Memory of all processes of a command together. Units are of 1024.",
			Default: others, Example: "8g", Value: memoryValue(&l.Memory)},
		{Name: "pids", Doc: "Processes and threads that a command has at one time.", Default: others, Example: "2000",
			Value: strictyaml.Int(&l.PIDs, leastPIDs, mostPIDs)},
		{Name: "time", Doc: "How long a command may run.", Default: others, Example: "30m",
			Value: timeLimitValue(&l.Time)},
	}
}

// memoryValue reads an amount of memory, as cluster files have it.
func memoryValue(bytes *int64) strictyaml.Value {
	g := strictyaml.Grammar{What: "an amount of memory", Pattern: `[0-9]{1,12}(\.[0-9]{1,6})?[kmgtKMGT](i?[bB])?`,
		Check: func(s string) (string, string) {
			if n, ok := parseMemory(s); !ok || n < leastMemory || n > mostMemory {
				return quoteShort(s) + " is not a possible amount of memory",
					"write 32m or more, a number with m, g or t, such as 8g"
			}
			return "", ""
		}}
	return strictyaml.Each(g, func(s string) { *bytes, _ = parseMemory(s) })
}

var memoryText = lazy(`^(?i)([0-9]{1,12}(?:\.[0-9]{1,6})?)([kmgt])(?:i?b)?$`)

// parseMemory reads 512m, 8g, 8GB or 1.5GiB, in units of 1024.
func parseMemory(s string) (int64, bool) {
	m := memoryText().FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(m[1], 64)
	n *= float64(int64(1) << (10 * (1 + strings.Index("kmgt", strings.ToLower(m[2])))))
	return int64(n), err == nil && n <= mostMemory
}

// timeLimitValue reads how long a command may run.
func timeLimitValue(d *time.Duration) strictyaml.Value {
	g := strictyaml.Grammar{What: "a time", Pattern: `([0-9]+(\.[0-9]+)?(ms|s|m|h))+`, Limit: 32,
		Check: func(s string) (string, string) {
			if v, err := time.ParseDuration(s); err != nil || v < time.Second || v > mostTime {
				return quoteShort(s) + " is not a possible time",
					fmt.Sprintf("write a time from 1s to %dh, such as 30m or 1h30m", mostTime/time.Hour)
			}
			return "", ""
		}}
	return strictyaml.Each(g, func(s string) { *d, _ = time.ParseDuration(s) })
}

// Limited tells which limits the recipe sets anywhere. A field of the result is 0 if no command has such a limit.
func (r *Recipe) Limited() llb.Limits {
	all := r.Limits
	for _, s := range r.Steps {
		all.Memory, all.PIDs = max(all.Memory, s.Limits.Memory), max(all.PIDs, s.Limits.PIDs)
		all.Time = max(all.Time, s.Limits.Time)
	}
	return all
}
