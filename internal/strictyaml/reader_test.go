package strictyaml

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// pet is what the file of these tests describes.
type pet struct {
	name  string
	legs  int
	tame  bool
	tags  []string
	food  map[string]string
	young []pet
	rate  string
}

func petKeys(p *pet) []Key {
	word := Pattern("a word", "[a-z]+", 8, "write small letters")
	return []Key{
		{Name: "name", Doc: "What it is called.", Required: true, Example: "rex", Value: String(&p.name, word)},
		{Name: "legs", Doc: "How many legs it has.", Default: "4", Example: "2", Value: Int(&p.legs, 0, 8)},
		{Name: "tame", Doc: "Whether it bites.", Example: "true", Value: Flag(&p.tame)},
		{Name: "tags", Doc: "Words for it.", Example: "[small, loud]", Value: ListOr(Strings(&p.tags, word), Map(
			Key{Name: "all", Doc: "The same.", Value: Strings(&p.tags, word)}))},
		{Name: "food", Doc: "What it eats.", Example: "{day: corn}", Value: Pairs(&p.food, word, Grammar{Bools: true})},
		{Name: "young", Doc: "Its young.", Value: ListOf(&p.young, "a list of pets", func(y *pet) Value {
			return Map(Key{Name: "name", Doc: "As above.", Required: true, Value: String(&y.name, word)})
		})},
		{Name: "rate", Doc: "Rate.",
			Value: WordOr("auto", func() { p.rate = "a" },
				NullOr(func() { p.rate = "0" }, String(&p.rate, Grammar{})))},
	}
}

func testLimits() Limits { return Limits{Bytes: 1 << 16, Depth: 8, Tokens: 2000} }

func readPet(text string) (pet, error) {
	var p pet
	root, problems := Parse([]byte(text), "pet.yaml", testLimits())
	var r Reader
	r.Tell(problems...)
	r.Read(root, "", Map(petKeys(&p)...))
	return p, r.Err()
}

func TestReads(t *testing.T) {
	t.Parallel()
	got, err := readPet("young: [{name: a}, {name: b}]\nname: rex\nlegs: 3\ntame: TRUE\ntags: {all: [x]}\nfood: " +
		"{day: 1.50, night: true}\nrate:\n")
	food := map[string]string{"day": "1.50", "night": "true"}
	want := pet{name: "rex", legs: 3, tame: true, tags: []string{"x"}, food: food,
		young: []pet{{name: "a"}, {name: "b"}}, rate: "0"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = readPet("name: rex\ntags:\nfood: {}\nyoung:\nrate: auto")
	if want := (pet{name: "rex", food: map[string]string{}, rate: "a"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Everything that is wrong is told at once, in the order of the file, also beside what the parser refuses.
func TestTellsEverything(t *testing.T) {
	t.Parallel()
	_, err := readPet("legs: 9\ntame: &x yes\ntags: [a, 1, B]\nfood: {A: x, b: [c]}\nyoung: [{}, 3]\nnam: q\nlegs: " +
		"1\nrate: {<<: *x}\n")
	want := []string{
		`pet.yaml:1:1: has no name; add it`,
		`pet.yaml:1:7: legs: "9" is not a whole number from 0 to 8; write one in digits, without quotes`,
		`pet.yaml:2:7: anchors and aliases are not supported; write the value out`,
		`pet.yaml:3:11: tags[1]: "1" is not a word; write small letters`,
		`pet.yaml:3:14: tags[2]: "B" is not a word; write small letters`,
		`pet.yaml:4:8: food: "A" is not a word; write small letters`,
		`pet.yaml:4:17: food.b: is a list, not text; write text`,
		`pet.yaml:5:9: young[0]: has no name; add it`,
		`pet.yaml:5:13: young[1]: is a number, not a mapping; write a mapping`,
		`pet.yaml:6:1: nam: unknown key; did you mean "name"?`,
		`pet.yaml:7:1: key "legs" is there twice, first in line 1; keep one of the two`,
		`pet.yaml:8:7: rate: is a mapping, not text; write text`,
		`pet.yaml:8:8: merge keys (<<) are not supported; write the values out`,
	}
	var bad *Error
	if !errors.As(err, &bad) || !reflect.DeepEqual(strings.Split(err.Error(), "\n"), want) {
		t.Errorf("got\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
}

func TestShowsFiftyProblems(t *testing.T) {
	t.Parallel()
	_, err := readPet("name: a\n" + strings.Repeat("? a: b\n", 70))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 51 || lines[50] != "pet.yaml: 20 more problems; mend "+
		"the first ones and try again" {
		t.Errorf("%d lines: %v", len(lines), err)
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	var p pet
	root, _ := Parse([]byte("name: rex\nfood: {day: corn}\n"), "pet.yaml", testLimits())
	var r Reader
	r.Read(root, "", Map(petKeys(&p)...))
	r.Add("food.day", "is dear", "")
	r.Add("food.night", "is not there", "")
	r.Add("legs", "are not there", "")
	want := "pet.yaml:1:1: legs: are not there\npet.yaml:2:7: food.night: is not there\n" +
		"pet.yaml:2:13: food.day: is dear"
	if err := r.Err(); err.Error() != want || r.Place("food.day").Text != "corn" || r.Place("legs") != nil {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// Whatever a file holds, the reader ends, and says where each problem is without a raw control character.
func FuzzRead(f *testing.F) {
	f.Add([]byte("name: rex\nlegs: 4\ntags: [a]\nfood: {a: b}\nyoung: [{name: x}]\n"))
	f.Add([]byte("? [a]\n: &b c\n<<: *b\n- !!x y\n"))
	f.Add([]byte("name: |\n  a\n\u202elegs: 1e400\n---\nname: .nan"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := readPet(string(data))
		var bad *Error
		if err == nil {
			return
		}
		if !errors.As(err, &bad) || len(bad.Problems) == 0 || len(bad.Problems) > maxProblems+1 {
			t.Fatalf("error without problems: %v", err)
		}
		for _, p := range bad.Problems {
			if message, _ := OneLine(p.String()); message != "" {
				t.Errorf("problem %q holds a %s", p, message)
			}
		}
	})
}
