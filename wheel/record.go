package wheel

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
)

// recordRow is a row of RECORD: a path from the library's directory, a hash as ALGORITHM=BASE64, and a size in bytes
// (packaging.python.org, "Recording installed projects").
type recordRow struct{ path, hash, size string }

// readRecord reads RECORD. A row may lack hash and size, and a file may lack its row: pip takes both.
func (w *Wheel) readRecord() error {
	text, err := w.text("RECORD")
	if err != nil {
		return err
	}
	// Lines may end as on an old Mac.
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	for {
		row, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s/RECORD: %w", w.info, err)
		}
		row = append(row, "", "")
		w.record = append(w.record, recordRow{row[0], row[1], row[2]})
	}
}

// checker checks a file against its row of RECORD while its bytes go by. A nil one checks nothing.
type checker struct {
	hash.Hash
	want, name string
}

// newChecker gives the checker of a member; nil if RECORD has no hash of it.
func (w *Wheel) newChecker(rows map[string]recordRow, name string) (*checker, error) {
	algorithm, want, ok := strings.Cut(rows[name].hash, "=")
	if !ok {
		return nil, nil //nolint:nilnil // there is nothing to check
	}
	c := &checker{want: strings.TrimRight(want, "="), name: name}
	switch algorithm {
	case "sha256":
		c.Hash = sha256.New()
	case "sha384":
		c.Hash = sha512.New384()
	case "sha512":
		c.Hash = sha512.New()
	default:
		return nil, fmt.Errorf("RECORD has a hash of %q by %q, which proves nothing: sha256 or better is wanted",
			name, algorithm)
	}
	return c, nil
}

// check compares what went by with the row.
func (c *checker) check() error {
	if c == nil || base64.RawURLEncoding.EncodeToString(c.Sum(nil)) == c.want {
		return nil
	}
	return fmt.Errorf("member %q has another hash than RECORD says", c.name)
}

// newRow is the row of a file that was written here.
func newRow(path string, data []byte) recordRow {
	sum := sha256.Sum256(data)
	return recordRow{path, "sha256=" + base64.RawURLEncoding.EncodeToString(sum[:]), strconv.Itoa(len(data))}
}

// writeRecord writes rows as pip does: sorted, with quotes if a field needs them, ended as Python's csv does.
func writeRecord(rows []recordRow) []byte {
	slices.SortFunc(rows, func(a, b recordRow) int {
		return strings.Compare(a.path+"\x00"+a.hash+"\x00"+a.size, b.path+"\x00"+b.hash+"\x00"+b.size)
	})
	var out strings.Builder
	for _, r := range rows {
		for i, field := range []string{r.path, r.hash, r.size} {
			if i > 0 {
				out.WriteByte(',')
			}
			if strings.ContainsAny(field, "\",\r\n") {
				field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
			}
			out.WriteString(field)
		}
		out.WriteString("\r\n")
	}
	return []byte(out.String())
}
