package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// copyJSONString writes the string that a JSON object has at a key. The string may be larger than memory: it is
// decoded as it comes. What follows it is not read.
func copyJSONString(w io.Writer, r io.Reader, key string) error {
	dec := json.NewDecoder(r)
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("read ray's answer: it is no JSON object: %w", errors.Join(err, errNoString))
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("read ray's answer: %w", err)
		}
		if name == key {
			in := bufio.NewReaderSize(io.MultiReader(dec.Buffered(), r), 32<<10)
			return copyString(w, in)
		}
		var other json.RawMessage
		if err := dec.Decode(&other); err != nil {
			return fmt.Errorf("read ray's answer: %w", err)
		}
	}
	return fmt.Errorf("read ray's answer: %w: there is no %q", errNoString, key)
}

var errNoString = errors.New("it has no text")

// copyString decodes `:"text"` from r.
func copyString(w io.Writer, r *bufio.Reader) error {
	for _, want := range []byte{':', '"'} {
		c, err := firstByte(r)
		if err != nil {
			return fmt.Errorf("read ray's answer: %w", err)
		}
		if c != want {
			return errNoString
		}
	}
	out := bufio.NewWriterSize(w, 32<<10)
	err := decodeString(out, r)
	if flushed := out.Flush(); flushed != nil {
		return flushed
	}
	if err != nil {
		return fmt.Errorf("read ray's answer: %w", err)
	}
	return nil
}

// firstByte skips white space.
func firstByte(r *bufio.Reader) (byte, error) {
	for {
		c, err := r.ReadByte()
		if err != nil || !bytes.ContainsRune([]byte(" \t\r\n"), rune(c)) {
			return c, noEnd(err)
		}
	}
}

// noEnd says that an end comes too early.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decodeString decodes a string up to its closing quote. What is no UTF-8 becomes U+FFFD, as encoding/json has it.
func decodeString(w *bufio.Writer, r *bufio.Reader) error {
	for {
		c, _, err := r.ReadRune()
		switch {
		case err != nil:
			return noEnd(err)
		case c == '"':
			return nil
		case c < ' ':
			return fmt.Errorf("control character %q in a string", c)
		case c == '\\':
			c, err = escaped(r)
			if err != nil {
				return noEnd(err)
			}
		}
		if _, err := w.WriteRune(c); err != nil {
			return err
		}
	}
}

// escaped reads what follows a backslash.
func escaped(r *bufio.Reader) (rune, error) {
	c, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	if plain := bytes.IndexByte([]byte(`"\/bfnrt`), c); plain >= 0 {
		return rune("\"\\/\b\f\n\r\t"[plain]), nil
	}
	if c != 'u' {
		return 0, fmt.Errorf("unknown escape %q in a string", c)
	}
	first, err := hex4(r)
	if err != nil || !utf16.IsSurrogate(first) {
		return first, err
	}
	// The second half of a pair. Anything else is read again, for itself.
	if next, _ := r.Peek(6); len(next) == 6 && next[0] == '\\' && next[1] == 'u' {
		second, err := strconv.ParseUint(string(next[2:]), 16, 16)
		if pair := utf16.DecodeRune(first, rune(second)); err == nil && pair != utf8.RuneError {
			_, err = r.Discard(6)
			return pair, err
		}
	}
	return utf8.RuneError, nil
}

// hex4 reads four hexadecimal digits.
func hex4(r *bufio.Reader) (rune, error) {
	var digits [4]byte
	if _, err := io.ReadFull(r, digits[:]); err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(digits[:]), 16, 16)
	if err != nil {
		return 0, fmt.Errorf("bad escape \\u%q in a string", digits)
	}
	return rune(n), nil
}
