package bed

import (
	"encoding/json"
	"os"
)

// WriteResults writes a benchmark's results as JSON to the file out, and page to the file docs where that is not empty.
func WriteResults(out string, results any, docs, page string) error {
	data, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, append(data, '\n'), 0o644); err != nil {
		return err
	}
	if docs == "" {
		return nil
	}
	return os.WriteFile(docs, []byte(page), 0o644)
}
