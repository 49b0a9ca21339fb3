package wheel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// Limits of what is read. The largest wheels of PyPI have some 60,000 files and unpack to a few GB.
const (
	maxMembers  = 1 << 20
	maxUnpacked = 64 << 30
	maxText     = 64 << 20 // of a member that is read whole, such as RECORD
)

// Signatures and sizes of APPNOTE.TXT 4.3.
const (
	localSignature     = 0x04034b50
	directorySignature = 0x02014b50
	endSignature       = 0x06054b50
	end64Signature     = 0x06064b50
	locatorSignature   = 0x07064b50

	localSize     = 30
	directorySize = 46
	endSize       = 22
	end64Size     = 56
	locatorSize   = 20
)

// Methods and flags of members.
const (
	stored   = 0
	deflated = 8

	flagEncrypted  = 1 << 0
	flagDescriptor = 1 << 3
	flagStrong     = 1 << 6
	flagUTF8       = 1 << 11
	flagMasked     = 1 << 13
)

// member is a file of the archive, as the directory has it.
type member struct {
	name     string
	method   uint16
	flags    uint16
	crc      uint32
	packed   int64 // size in the archive
	size     int64
	mode     uint32 // as Unix has it; 0: none is given
	header   int64  // offset of the local header
	data     int64  // offset of the bytes
	rawName  []byte // as it is stored
	isFolder bool
}

// readDirectory reads the archive's directory, and checks each local header against it: a reader
// that trusts the one must not see another file than a reader that trusts the other.
func readDirectory(r io.ReaderAt, size int64) ([]member, error) {
	count, offset, length, err := findDirectory(r, size)
	if err != nil {
		return nil, err
	}
	data := make([]byte, length)
	if _, err := r.ReadAt(data, offset); err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	all := make([]member, 0, min(count, 1<<16))
	var unpacked int64
	for len(data) > 0 {
		m, rest, err := parseEntry(data)
		if err != nil {
			return nil, err
		}
		data = rest
		if unpacked += m.size; m.size > maxUnpacked || unpacked > maxUnpacked {
			return nil, fmt.Errorf("member %q: the archive unpacks to more than %d GiB", m.name, maxUnpacked>>30)
		}
		if all = append(all, m); int64(len(all)) > count {
			break
		}
	}
	if int64(len(all)) != count {
		return nil, fmt.Errorf("the directory has %d members, and its end says %d", len(all), count)
	}
	return all, checkLocal(r, all, offset)
}

// findDirectory reads the end of the archive. Nothing may follow it but its comment, and nothing
// may come before the archive.
func findDirectory(r io.ReaderAt, size int64) (count, offset, length int64, err error) {
	if size < endSize {
		return 0, 0, 0, errors.New("it is too short for a ZIP archive")
	}
	tail := make([]byte, min(size, endSize+1<<16-1))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil {
		return 0, 0, 0, fmt.Errorf("read end: %w", err)
	}
	at := len(tail) - endSize
	for ; at >= 0; at-- {
		if binary.LittleEndian.Uint32(tail[at:]) == endSignature &&
			at+endSize+int(binary.LittleEndian.Uint16(tail[at+20:])) == len(tail) {
			break
		}
	}
	if at < 0 {
		return 0, 0, 0, errors.New("it is no ZIP archive, or its end is missing")
	}
	end := tail[at:]
	le := binary.LittleEndian
	if le.Uint16(end[4:]) != 0 || le.Uint16(end[6:]) != 0 || le.Uint16(end[8:]) != le.Uint16(end[10:]) {
		return 0, 0, 0, errors.New("it is a part of an archive of several files")
	}
	count, length, offset = int64(le.Uint16(end[10:])), int64(le.Uint32(end[12:])), int64(le.Uint32(end[16:]))
	endAt := size - int64(len(tail)) + int64(at)
	if count == 0xffff || length == 0xffffffff || offset == 0xffffffff {
		if count, offset, length, endAt, err = findDirectory64(r, endAt); err != nil {
			return 0, 0, 0, err
		}
	}
	switch {
	case count > maxMembers || length > maxMembers*1024:
		return 0, 0, 0, fmt.Errorf("it has %d members, which is more than %d", count, maxMembers)
	case offset < 0 || length < 0 || offset+length != endAt:
		return 0, 0, 0, errors.New("its directory is not where its end says")
	}
	return count, offset, length, nil
}

// findDirectory64 reads the end of a zip64 archive, whose locator is before endAt.
func findDirectory64(r io.ReaderAt, endAt int64) (count, offset, length, at int64, err error) {
	bad := errors.New("its zip64 end is damaged")
	buf := make([]byte, locatorSize)
	if endAt < locatorSize+end64Size {
		return 0, 0, 0, 0, bad
	}
	if _, err := r.ReadAt(buf, endAt-locatorSize); err != nil {
		return 0, 0, 0, 0, fmt.Errorf("read zip64 end: %w", err)
	}
	le := binary.LittleEndian
	at = int64(le.Uint64(buf[8:]))
	if le.Uint32(buf) != locatorSignature || at != endAt-locatorSize-end64Size {
		return 0, 0, 0, 0, bad
	}
	buf = make([]byte, end64Size)
	if _, err := r.ReadAt(buf, at); err != nil {
		return 0, 0, 0, 0, fmt.Errorf("read zip64 end: %w", err)
	}
	if le.Uint32(buf) != end64Signature || le.Uint64(buf[4:]) != end64Size-12 || le.Uint32(buf[16:]) != 0 ||
		le.Uint64(buf[24:]) != le.Uint64(buf[32:]) || le.Uint64(buf[32:]) > maxMembers {
		return 0, 0, 0, 0, bad
	}
	return int64(le.Uint64(buf[32:])), int64(le.Uint64(buf[48:])), int64(le.Uint64(buf[40:])), at, nil
}

// parseEntry reads one entry of the directory, and gives what follows it.
func parseEntry(data []byte) (member, []byte, error) {
	le := binary.LittleEndian
	if len(data) < directorySize || le.Uint32(data) != directorySignature {
		return member{}, nil, errors.New("its directory is damaged")
	}
	nameLen, extraLen, commentLen := int(le.Uint16(data[28:])), int(le.Uint16(data[30:])), int(le.Uint16(data[32:]))
	if len(data) < directorySize+nameLen+extraLen+commentLen {
		return member{}, nil, errors.New("its directory is damaged")
	}
	m := member{flags: le.Uint16(data[8:]), method: le.Uint16(data[10:]), crc: le.Uint32(data[16:]),
		packed: int64(le.Uint32(data[20:])), size: int64(le.Uint32(data[24:])), header: int64(le.Uint32(data[42:])),
		rawName: bytes.Clone(data[directorySize : directorySize+nameLen])}
	// pip takes it from archives of other systems too: Pythons on Windows write one.
	m.mode = le.Uint32(data[38:]) >> 16
	var err error
	if m.name, err = decodeName(m.rawName, m.flags); err != nil {
		return member{}, nil, err
	}
	if err := m.zip64(data[directorySize+nameLen : directorySize+nameLen+extraLen]); err != nil {
		return member{}, nil, err
	}
	switch {
	case m.flags&(flagEncrypted|flagStrong|flagMasked) != 0:
		return member{}, nil, fmt.Errorf("member %q is encrypted", m.name)
	case m.method != stored && m.method != deflated:
		return member{}, nil, fmt.Errorf("member %q is compressed by method %d: only stored and deflated are known",
			m.name, m.method)
	case m.method == stored && m.packed != m.size:
		return member{}, nil, fmt.Errorf("member %q is stored, and has two sizes", m.name)
	}
	m.isFolder = strings.HasSuffix(m.name, "/")
	return m, data[directorySize+nameLen+extraLen+commentLen:], nil
}

// zip64 takes sizes and offset from the extra field where 32 bits do not hold them (APPNOTE.TXT 4.5.3).
func (m *member) zip64(extra []byte) error {
	le := binary.LittleEndian
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			break
		}
		field := extra[:n]
		if extra = extra[n:]; id != 1 {
			continue
		}
		for _, v := range []*int64{&m.size, &m.packed, &m.header} {
			if *v != 0xffffffff {
				continue
			}
			if len(field) < 8 || le.Uint64(field) > 1<<62 {
				return fmt.Errorf("member %q: its zip64 field is damaged", m.name)
			}
			*v, field = int64(le.Uint64(field)), field[8:]
		}
		return nil
	}
	return nil
}

// decodeName reads a name as Python's zipfile does, which pip uses: UTF-8 if the flag says so, else code page 437.
func decodeName(raw []byte, flags uint16) (string, error) {
	if flags&flagUTF8 != 0 {
		if !utf8.Valid(raw) {
			return "", fmt.Errorf("the name %q is no UTF-8", raw)
		}
		return string(raw), nil
	}
	text, err := charmap.CodePage437.NewDecoder().Bytes(raw)
	if err != nil {
		return "", fmt.Errorf("the name %q cannot be read: %w", raw, err)
	}
	return string(text), nil
}

// checkLocal compares each member's local header with the directory, and finds where its bytes are.
// Members may not lie over each other, nor over the directory, which begins at end.
func checkLocal(r io.ReaderAt, all []member, end int64) error {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if c := all[a].header - all[b].header; c != 0 {
			return int(min(max(c, -1), 1))
		}
		return a - b
	})
	free := int64(0)
	for _, i := range order {
		m := &all[i]
		if m.header < free {
			return fmt.Errorf("member %q lies over another one", m.name)
		}
		if err := m.readLocal(r, end); err != nil {
			return err
		}
		if m.packed < 0 || m.packed > end-m.data {
			return fmt.Errorf("member %q reaches over its end", m.name)
		}
		free = m.data + m.packed
	}
	return nil
}

func (m *member) readLocal(r io.ReaderAt, end int64) error {
	damaged := fmt.Errorf("member %q: its local header is damaged", m.name)
	if m.header < 0 || m.header > end-localSize {
		return damaged
	}
	buf := make([]byte, localSize+len(m.rawName))
	if n, err := r.ReadAt(buf, m.header); err != nil && n < localSize {
		return fmt.Errorf("read local header of %q: %w", m.name, err)
	}
	le := binary.LittleEndian
	nameLen, extraLen := int(le.Uint16(buf[26:])), int64(le.Uint16(buf[28:]))
	if le.Uint32(buf) != localSignature {
		return damaged
	}
	differs := func(what string) error {
		return fmt.Errorf("member %q: its local header has another %s than the directory", m.name, what)
	}
	const same = flagEncrypted | flagDescriptor | flagUTF8
	switch {
	case nameLen != len(m.rawName) || !bytes.Equal(buf[localSize:], m.rawName):
		return differs("name")
	case le.Uint16(buf[8:]) != m.method:
		return differs("method")
	case le.Uint16(buf[6:])&same != m.flags&same:
		return differs("flag")
	}
	m.data = m.header + localSize + int64(nameLen) + extraLen
	if m.data > end {
		return damaged
	}
	local := member{name: m.name, crc: le.Uint32(buf[14:]), packed: int64(le.Uint32(buf[18:])),
		size: int64(le.Uint32(buf[22:]))}
	if m.flags&flagDescriptor != 0 && local.crc == 0 && local.packed == 0 && local.size == 0 {
		return nil // they follow the bytes
	}
	if local.packed == 0xffffffff || local.size == 0xffffffff {
		extra := make([]byte, extraLen)
		if _, err := r.ReadAt(extra, m.data-extraLen); err != nil {
			return fmt.Errorf("read local header of %q: %w", m.name, err)
		}
		if err := local.zip64(extra); err != nil {
			return err
		}
		if m.flags&flagDescriptor != 0 && local.crc == 0 && local.packed <= 0 && local.size <= 0 {
			return nil
		}
	}
	switch {
	case local.crc != m.crc:
		return differs("checksum")
	case local.packed != m.packed || local.size != m.size:
		return differs("size")
	}
	return nil
}
