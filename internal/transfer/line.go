package transfer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/atolldb/atoll/crdt"
)

// What a line of a set holds at most, so that one request takes it: elements, and
// bytes of them and of as many keys.
const (
	MaxElements = 4096
	MaxBytes    = crdt.MaxValueBytes
)

// Line is an object, or a part of a set. What does not belong to its type is
// empty.
type Line struct {
	Key      string
	Type     crdt.Type
	Counter  int64
	Elements []string
	Values   [][]byte // of a register, the one that counts first
}

// value and the others are fields in JSON, in the order in which they are written.
type value struct {
	Text   *string `json:"value,omitempty"`
	Base64 []byte  `json:"value_base64,omitempty"`
}

type fields struct {
	Key            *string  `json:"key,omitempty"`
	KeyBase64      []byte   `json:"key_base64,omitempty"`
	Type           string   `json:"type"`
	Elements       []string `json:"elements,omitempty"`
	ElementsBase64 [][]byte `json:"elements_base64,omitempty"`
	value
	Siblings []value `json:"siblings,omitempty"`
}

func valueOf(b []byte) value {
	if s := string(b); utf8.ValidString(s) {
		return value{Text: &s}
	}
	return value{Base64: b}
}

// encode returns the line without a line end.
func (l Line) encode() ([]byte, error) {
	key := valueOf([]byte(l.Key))
	f := fields{Key: key.Text, KeyBase64: key.Base64, Type: l.Type.String()}
	switch l.Type {
	case crdt.TypeCounter:
		f.value = valueOf(strconv.AppendInt(nil, l.Counter, 10))
	case crdt.TypeSet:
		for _, e := range l.Elements {
			if utf8.ValidString(e) {
				f.Elements = append(f.Elements, e)
			} else {
				f.ElementsBase64 = append(f.ElementsBase64, []byte(e))
			}
		}
	case crdt.TypeRegister:
		for i, v := range l.Values {
			if i == 0 {
				f.value = valueOf(v)
			} else {
				f.Siblings = append(f.Siblings, valueOf(v))
			}
		}
	}
	return marshal(f)
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// object is the fields of a JSON object that were not taken yet.
type object map[string]json.RawMessage

// UnmarshalJSON implements json.Unmarshaler.
func (o *object) UnmarshalJSON(b []byte) (err error) {
	*o, err = parse(b)
	return err
}

// parse reads one JSON object and nothing after it. Package json alone would take
// half a character for another, and the last of two fields of one name.
func parse(line []byte) (object, error) {
	switch {
	case !utf8.Valid(line):
		return nil, errors.New("it is not UTF-8")
	case halfCharacter(line):
		return nil, errors.New(`it has half a character, \ud800 to \udfff; what is no text stands in base64`)
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it does not begin like a JSON object")
	}
	o := object{}
	for decoder.More() {
		name, err := decoder.Token() // a string: others are errors
		var raw json.RawMessage
		if err == nil {
			err = decoder.Decode(&raw)
		}
		if err != nil {
			return nil, broken(err)
		}
		if _, twice := o[name.(string)]; twice {
			return nil, fmt.Errorf("it has %q twice", name)
		}
		o[name.(string)] = raw
	}
	if _, err := decoder.Token(); err != nil {
		return nil, broken(err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("there is something after its JSON object")
	}
	return o, nil
}

func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is cut in the middle of its JSON object")
	}
	return fmt.Errorf("it is no JSON: %w", err)
}

// halfCharacter says that an escape is of one of two surrogates without the other.
func halfCharacter(line []byte) bool {
	for len(line) > 0 {
		i := bytes.IndexByte(line, '\\')
		if i < 0 || len(line) < i+2 {
			return false
		}
		first, isRune := escaped(line[i:])
		line = line[i+2:]
		if !isRune || !utf16.IsSurrogate(first) {
			continue
		}
		line = line[4:]
		if second, isRune := escaped(line); !isRune || utf16.DecodeRune(first, second) == utf8.RuneError {
			return true
		}
		line = line[6:]
	}
	return false
}

// escaped returns the code unit that text begins with as \u and four digits.
func escaped(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n), err == nil
}

// text is a JSON string: null is none.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	if b[0] != '"' {
		return errors.New("a string")
	}
	return json.Unmarshal(b, (*string)(t))
}

// binary is base64 in a JSON string.
type binary []byte

// UnmarshalJSON implements json.Unmarshaler.
func (d *binary) UnmarshalJSON(b []byte) error {
	var t text
	if err := t.UnmarshalJSON(b); err != nil {
		return err
	}
	var err error
	if *d, err = base64.StdEncoding.Strict().DecodeString(string(t)); err != nil {
		return errors.New("base64")
	}
	return nil
}

// take decodes a field, if it is there, and says so.
func (o object) take(name string, into any, what string) (bool, error) {
	raw, ok := o[name]
	if !ok {
		return false, nil
	}
	delete(o, name)
	if err := json.Unmarshal(raw, into); err != nil || string(raw) == "null" {
		return true, fmt.Errorf("%q is %.40s; it takes %s", name, raw, what)
	}
	return true, nil
}

// bytes takes a field that is there as text or as base64.
func (o object) bytes(name string) ([]byte, error) {
	var t text
	var b binary
	plain, err := o.take(name, &t, "a string")
	if err != nil {
		return nil, err
	}
	encoded, err := o.take(name+"_base64", &b, "base64 in a string")
	switch {
	case err != nil:
		return nil, err
	case plain == encoded:
		return nil, fmt.Errorf("it takes %q or %q, one of them", name, name+"_base64")
	case plain:
		return []byte(t), nil
	}
	return b, nil
}

// rest refuses the fields that nobody has taken.
func (o object) rest() error {
	if len(o) == 0 {
		return nil
	}
	return fmt.Errorf("it has %q, which is not to be there", slices.Sorted(maps.Keys(o))[0])
}

// line returns the line of data that the fields are.
func (o object) line() (Line, error) {
	var l Line
	key, err := o.bytes("key")
	if err != nil {
		return l, err
	}
	var name text
	if _, err := o.take("type", &name, "a string"); err != nil {
		return l, err
	}
	i := slices.IndexFunc(crdt.Types[:], func(t crdt.Type) bool { return t.String() == string(name) })
	if i < 0 {
		return l, fmt.Errorf("its type is %.40q; it takes counter, set or register", name)
	}
	l.Key, l.Type = string(key), crdt.Types[i]
	if err := (crdt.Object{Key: l.Key, Type: l.Type}).Validate(); err != nil {
		return l, err
	}
	switch l.Type {
	case crdt.TypeCounter:
		l.Counter, err = o.counter()
	case crdt.TypeSet:
		l.Elements, err = o.elements(len(key))
	default:
		l.Values, err = o.values()
	}
	if err != nil {
		return l, err
	}
	return l, o.rest()
}

func (o object) counter() (int64, error) {
	raw := o["value"]
	delete(o, "value")
	digits := strings.TrimSuffix(strings.TrimPrefix(string(raw), `"`), `"`)
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || len(raw)-len(digits) == 1 {
		return 0, fmt.Errorf(`"value" is %.40s; of a counter it takes a whole number of at most 64 bits, such as "-5"`, raw)
	}
	return n, nil
}

func (o object) elements(key int) ([]string, error) {
	var plain []text
	var encoded []binary
	if _, err := o.take("elements", &plain, "a list of strings"); err != nil {
		return nil, err
	}
	if _, err := o.take("elements_base64", &encoded, "a list of base64 in strings"); err != nil {
		return nil, err
	}
	n, size := len(plain)+len(encoded), 0
	if n == 0 || n > MaxElements {
		return nil, fmt.Errorf("it has %d elements; it takes 1 to %d, and a larger set is in several lines", n, MaxElements)
	}
	all := make([]string, 0, n)
	for _, e := range plain {
		all = append(all, string(e))
	}
	for _, e := range encoded {
		all = append(all, string(e))
	}
	for _, e := range all {
		if len(e) > crdt.MaxElementBytes {
			return nil, fmt.Errorf("an element has %d bytes; at most %d are allowed", len(e), crdt.MaxElementBytes)
		}
		size += key + len(e)
	}
	if size > MaxBytes {
		return nil, fmt.Errorf("its elements, and as many keys, have %d bytes; at most %d are allowed, and a larger set is in several lines", size, MaxBytes)
	}
	return all, nil
}

func (o object) values() ([][]byte, error) {
	v, err := o.bytes("value")
	if err != nil {
		return nil, err
	}
	all := [][]byte{v}
	var siblings []object
	if _, err := o.take("siblings", &siblings, "a list of objects"); err != nil {
		return nil, err
	}
	for _, s := range siblings {
		v, err := s.bytes("value")
		if err == nil {
			err = s.rest()
		}
		if err != nil {
			return nil, fmt.Errorf("a sibling: %w", err)
		}
		all = append(all, v)
	}
	for _, v := range all {
		if len(v) > crdt.MaxValueBytes {
			return nil, fmt.Errorf("a value has %d bytes; at most %d are allowed", len(v), crdt.MaxValueBytes)
		}
	}
	return all, nil
}
