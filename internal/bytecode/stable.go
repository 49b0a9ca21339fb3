package bytecode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Types of marshal (Python/marshal.c). A type is a byte; flagRef says that a later typeRef may name the object by its
// number, which is the count of flagged objects before it.
const (
	flagRef = 0x80

	typeRef       = 'r'
	typeNone      = 'N'
	typeFalse     = 'F'
	typeTrue      = 'T'
	typeStop      = 'S'
	typeEllipsis  = '.'
	typeInt       = 'i'
	typeLong      = 'l' // digits of 15 bits; a negative number has a negative count
	typeFloat     = 'g'
	typeComplex   = 'y'
	typeBytes     = 's'
	typeText      = 'u'
	typeInterned  = 't'
	typeASCII     = 'a'
	typeInASCII   = 'A' // interned
	typeShort     = 'z' // ASCII of up to 255 characters
	typeInShort   = 'Z'
	typeTuple     = '('
	typeSmall     = ')' // a tuple of up to 255 items
	typeFrozenSet = '>'
	typeSlice     = ':'
	typeCode      = 'c'

	maxDepth = 2000    // marshal's own limit, MAX_MARSHAL_STACK_DEPTH
	maxItem  = 1 << 20 // of what is in a set, in bytes
)

var errMarshal = errors.New("the byte code is damaged, or of a version of Python that is not known")

// stable brings marshalled code of Python 3.minor into a form that depends on the code alone:
//
//   - An object is flagged if it is referred to. marshal flags what somebody else holds, too.
//   - Equal constants are one object. Python finds most equal ones, but not all in every process: 3.13 takes the name
//     of a class from the process if it is there, and a constant with that text stays another object; sets are found
//     by chance.
//   - A string is an interned one if one that equals it is, or if it has at most one character: Python has those once,
//     and anybody may have interned them.
//   - The items of a set are in the order of what they are written as. Before Python 3.11 they have that of their
//     hashes, and the hash of None is an address.
func stable(data []byte, minor int) ([]byte, error) {
	r := reader{data: data, minor: minor, known: map[string]int{}}
	root, err := r.object(0)
	if err != nil {
		return nil, err
	}
	if r.at != len(data) {
		return nil, fmt.Errorf("%w: %d bytes follow it", errMarshal, len(data)-r.at)
	}
	w := writer{values: r.values, uses: make([]int, len(r.values)), numbers: make([]int, len(r.values)),
		out: make([]byte, 0, len(data))}
	w.count(root)
	w.object(root)
	return w.out, nil
}

// value is a constant or code.
type value struct {
	kind     byte
	data     []byte // what stands before the items
	items    []int
	line     []byte // of code: what stands after eight items
	interned bool
}

// codeItems is how many items of code stand before the number of its first line.
const codeItems = 8

// reader reads marshalled code.
type reader struct {
	data    []byte
	minor   int
	at      int
	values  []value
	known   map[string]int // values of constants by what they are
	flagged []int          // values of flagged objects; -1: it is not complete
}

// take passes n bytes.
func (r *reader) take(n int) ([]byte, error) {
	if n < 0 || n > len(r.data)-r.at {
		return nil, errMarshal
	}
	r.at += n
	return r.data[r.at-n : r.at], nil
}

// number reads a number of 4 bytes.
func (r *reader) number() (int, error) {
	b, err := r.take(4)
	if err != nil {
		return 0, err
	}
	return int(int32(binary.LittleEndian.Uint32(b))), nil
}

// counted reads a count of size bytes.
func (r *reader) counted(size int) (int, error) {
	if size == 4 {
		return r.number()
	}
	b, err := r.take(1)
	if err != nil {
		return 0, err
	}
	return int(b[0]), nil
}

// object reads an object, and gives its value.
func (r *reader) object(depth int) (int, error) {
	b, err := r.take(1)
	if err != nil || depth > maxDepth {
		return 0, errMarshal
	}
	kind := b[0] &^ flagRef
	if kind == typeRef {
		n, err := r.number()
		if err != nil || n < 0 || n >= len(r.flagged) || r.flagged[n] < 0 {
			return 0, errMarshal
		}
		return r.flagged[n], nil
	}
	slot := -1
	if b[0]&flagRef != 0 {
		slot = len(r.flagged)
		r.flagged = append(r.flagged, -1)
	}
	v, err := r.value(kind, depth)
	if err != nil {
		return 0, err
	}
	id := r.add(v)
	if slot >= 0 {
		r.flagged[slot] = id
	}
	return id, nil
}

func (r *reader) value(kind byte, depth int) (v value, err error) {
	v.kind = kind
	switch kind {
	case typeNone, typeFalse, typeTrue, typeStop, typeEllipsis:
	case typeInt:
		v.data, err = r.take(4)
	case typeFloat:
		v.data, err = r.take(8)
	case typeComplex:
		v.data, err = r.take(16)
	case typeLong:
		var n int
		if n, err = r.number(); err == nil {
			if v.data, err = r.take(2 * max(n, -n)); err == nil {
				v.data = r.data[r.at-4-len(v.data) : r.at]
			}
		}
	case typeBytes, typeText, typeInterned, typeASCII, typeInASCII, typeShort, typeInShort:
		return r.text(kind)
	case typeSmall, typeTuple, typeFrozenSet:
		return r.collection(kind, depth)
	case typeSlice:
		err = r.items(&v, 3, depth)
	case typeCode:
		err = r.code(&v, depth)
	default:
		err = fmt.Errorf("%w: type %q", errMarshal, kind)
	}
	return v, err
}

// text reads bytes or a string. All strings have one kind here.
func (r *reader) text(kind byte) (v value, err error) {
	size := 4
	if kind == typeShort || kind == typeInShort {
		size = 1
	}
	n, err := r.counted(size)
	if err != nil {
		return v, err
	}
	if v.data, err = r.take(n); err != nil || kind == typeBytes {
		return value{kind: kind, data: v.data}, err
	}
	v.kind = typeText
	latin := n == 2 && v.data[0]&^1 == 0xc2 // U+0080 to U+00FF in UTF-8
	v.interned = n < 2 || latin || kind == typeInterned || kind == typeInASCII || kind == typeInShort
	return v, nil
}

// collection reads a tuple or a set.
func (r *reader) collection(kind byte, depth int) (v value, err error) {
	size := 4
	if kind == typeSmall {
		size, kind = 1, typeTuple
	}
	n, err := r.counted(size)
	if err != nil || n < 0 {
		return v, errMarshal
	}
	v.kind = kind
	if err := r.items(&v, n, depth); err != nil || kind == typeTuple {
		return v, err
	}
	texts := make(map[int][]byte, n)
	for _, id := range v.items {
		if texts[id], err = r.plain(nil, id, maxItem); err != nil {
			return v, err
		}
	}
	slices.SortFunc(v.items, func(a, b int) int { return bytes.Compare(texts[a], texts[b]) })
	return v, nil
}

// plain appends a value without references, if it is shorter than limit.
func (r *reader) plain(out []byte, id, limit int) ([]byte, error) {
	v := r.values[id]
	out = append(out, v.kind)
	out = binary.BigEndian.AppendUint32(out, uint32(len(v.data)+len(v.items)))
	out = append(out, v.data...)
	var err error
	for _, item := range v.items {
		if out, err = r.plain(out, item, limit); err != nil {
			return nil, err
		}
	}
	if len(out) > limit || v.kind == typeCode {
		return nil, fmt.Errorf("%w: a set has a large object in it", errMarshal)
	}
	return out, nil
}

func (r *reader) items(v *value, n, depth int) error {
	for range n {
		id, err := r.object(depth + 1)
		if err != nil {
			return err
		}
		v.items = append(v.items, id)
	}
	return nil
}

// code reads a code object: numbers, objects, the first line, and one more object or two.
func (r *reader) code(v *value, depth int) (err error) {
	numbers, last := 5, 1 // 3.7: counts of arguments (2) and of locals, stack size, flags
	switch {
	case r.minor >= 11: // counts of arguments (3), stack size, flags; the last are tables of lines and of exceptions
		last = 2
	case r.minor >= 8: // positional-only arguments as well
		numbers = 6
	}
	if v.data, err = r.take(4 * numbers); err != nil {
		return err
	}
	if err := r.items(v, codeItems, depth); err != nil {
		return err
	}
	if v.line, err = r.take(4); err != nil {
		return err
	}
	return r.items(v, last, depth)
}

// add gives the value that equals v. Code equals nothing.
func (r *reader) add(v value) int {
	if v.kind == typeCode {
		r.values = append(r.values, v)
		return len(r.values) - 1
	}
	key := append(append(make([]byte, 0, 1+len(v.data)+4*len(v.items)), v.kind), v.data...)
	for _, item := range v.items {
		key = binary.LittleEndian.AppendUint32(key, uint32(item))
	}
	id, known := r.known[string(key)]
	if !known {
		id = len(r.values)
		r.known[string(key)] = id
		r.values = append(r.values, v)
	}
	r.values[id].interned = r.values[id].interned || v.interned
	return id
}

// writer writes values.
type writer struct {
	values  []value
	uses    []int
	numbers []int // of those that were written and are used more than once, from 1
	next    int
	out     []byte
}

// count counts how often each value is written or referred to.
func (w *writer) count(id int) {
	if w.uses[id]++; w.uses[id] > 1 {
		return
	}
	for _, item := range w.values[id].items {
		w.count(item)
	}
}

func (w *writer) object(id int) {
	v := w.values[id]
	var flag byte
	switch {
	case len(v.data) == 0 && bytes.IndexByte([]byte{typeNone, typeFalse, typeTrue, typeStop, typeEllipsis},
		v.kind) >= 0:
	case w.numbers[id] > 0:
		w.out = binary.LittleEndian.AppendUint32(append(w.out, typeRef), uint32(w.numbers[id]-1))
		return
	case w.uses[id] > 1:
		w.next++
		w.numbers[id], flag = w.next, flagRef
	}
	w.head(v, flag)
	for i, item := range v.items {
		if v.kind == typeCode && i == codeItems {
			w.out = append(w.out, v.line...)
		}
		w.object(item)
	}
}

// head writes what stands before the items.
func (w *writer) head(v value, flag byte) {
	kind, size, n := v.kind, 4, len(v.items)
	switch v.kind {
	case typeBytes:
		n = len(v.data)
	case typeText:
		n = len(v.data)
		kind, size = textKind(v)
	case typeTuple:
		if n < 256 {
			kind, size = typeSmall, 1
		}
	case typeFrozenSet:
	default:
		size = 0
	}
	w.out = append(w.out, kind|flag)
	switch size {
	case 1:
		w.out = append(w.out, byte(n))
	case 4:
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(n))
	}
	w.out = append(w.out, v.data...)
}

// textKind is the type of a string, and the size of its count.
func textKind(v value) (kind byte, size int) {
	ascii := bytes.IndexFunc(v.data, func(r rune) bool { return r >= 0x80 }) < 0
	switch {
	case ascii && len(v.data) < 256 && v.interned:
		return typeInShort, 1
	case ascii && len(v.data) < 256:
		return typeShort, 1
	case ascii && v.interned:
		return typeInASCII, 4
	case ascii:
		return typeASCII, 4
	case v.interned:
		return typeInterned, 4
	}
	return typeText, 4
}
