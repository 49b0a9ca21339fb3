package uv

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/wholefile"
)

// Artifacts gives artifacts by digest. It must know the wheel of [HostWheel].
type Artifacts interface {
	Open(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error)
}

// maxBinary limits the program in the wheel, in bytes; that of 0.13.9 has 38 MB.
const maxBinary = 256 << 20

// Ensure returns the path of uv's program below dir, which it makes. If the program is not there, it is unpacked from
// the wheel, which from gives. Several processes may do so at once.
func Ensure(ctx context.Context, dir string, from Artifacts) (string, error) {
	w, err := HostWheel()
	if err != nil {
		return "", err
	}
	return ensure(ctx, dir, from, w)
}

func ensure(ctx context.Context, dir string, from Artifacts, w Wheel) (string, error) {
	home := filepath.Join(dir, "bin", w.SHA256)
	program := filepath.Join(home, "uv")
	if st, err := os.Stat(program); err == nil && st.Mode().IsRegular() {
		return program, nil
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("make directory for uv: %w", err)
	}
	if err := install(ctx, program, from, w); err != nil {
		return "", fmt.Errorf("unpack %q: %w", w.Filename(), err)
	}
	return program, nil
}

// install unpacks the program of a wheel, and gives it its name when it is whole.
func install(ctx context.Context, program string, from Artifacts, w Wheel) (err error) {
	body, _, err := from.Open(ctx, digest.NewDigestFromEncoded(digest.SHA256, w.SHA256))
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	spool, err := os.CreateTemp(filepath.Dir(program), ".wheel.*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spool.Close(), os.Remove(spool.Name())) }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(spool, sum), io.LimitReader(body, w.Size+1))
	if err != nil {
		return err
	}
	if got := hexSum(sum); got != w.SHA256 {
		return fmt.Errorf("its sha256 is %s, want %s", got, w.SHA256)
	}
	z, err := zip.NewReader(spool, n)
	if err != nil {
		return err
	}
	member, want, err := findProgram(z)
	if err != nil {
		return err
	}
	return extract(member, want, program)
}

// findProgram finds the program in the wheel, and its sha256 in RECORD.
func findProgram(z *zip.Reader) (*zip.File, string, error) {
	var member *zip.File
	sums := map[string]string{}
	for _, f := range z.File {
		dir, base := path.Split(f.Name)
		switch {
		case base == "uv" && strings.HasSuffix(dir, ".data/scripts/") && strings.Count(f.Name, "/") == 2:
			member = f
		case base == "RECORD" && strings.HasSuffix(dir, ".dist-info/") && strings.Count(f.Name, "/") == 1:
			if err := readRecord(f, sums); err != nil {
				return nil, "", err
			}
		}
	}
	if member == nil || sums[member.Name] == "" {
		return nil, "", errors.New("it has no program uv, or RECORD has no sha256 of it")
	}
	if member.UncompressedSize64 > maxBinary {
		return nil, "", fmt.Errorf("%q has %d bytes", member.Name, member.UncompressedSize64)
	}
	return member, sums[member.Name], nil
}

// readRecord reads the sha256 of a wheel's files: name,sha256=BASE64,size.
func readRecord(f *zip.File, sums map[string]string) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	rows := csv.NewReader(io.LimitReader(r, 1<<20))
	rows.FieldsPerRecord = -1
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read RECORD: %w", err)
		}
		if len(row) < 2 {
			continue
		}
		if b64, ok := strings.CutPrefix(row[1], "sha256="); ok {
			if raw, err := base64.RawURLEncoding.DecodeString(b64); err == nil {
				sums[row[0]] = hex.EncodeToString(raw)
			}
		}
	}
}

func extract(member *zip.File, want, program string) error {
	r, err := member.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	out, err := wholefile.Create(program)
	if err != nil {
		return err
	}
	out.Lasting = true // a program that is there is used
	sum := sha256.New()
	_, failed := io.Copy(io.MultiWriter(out, sum), io.LimitReader(r, maxBinary))
	if got := hexSum(sum); failed == nil && got != want {
		failed = fmt.Errorf("the sha256 of %q is %s, RECORD says %s", member.Name, got, want)
	}
	return errors.Join(failed, out.Finish(0o755, failed))
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
