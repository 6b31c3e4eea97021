package quorum

import (
	"errors"
	"testing"
)

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]Level{
		"": Quorum, "quorum": Quorum, "one": One, "1": One, "two": Two, "2": Two, "three": Three, "3": Three, "5": 5, "15": 15, "all": All, "any": Any,
	} {
		got, err := ParseLevel(text)
		if err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v; want %v", text, got, err, want)
		}
		if again, err := ParseLevel(got.String()); err != nil || again != got {
			t.Errorf("ParseLevel(%q.String()) = %v, %v", text, again, err)
		}
	}
	for _, text := range []string{"0", "-1", "16", "256", "+2", "02", "1.5", "QUORUM", "local_quorum", "x"} {
		_, err := ParseLevel(text)
		var level *LevelError
		if !errors.As(err, &level) || level.Level != text {
			t.Errorf("ParseLevel(%q): error %v, want a *LevelError for it", text, err)
		}
	}
}

func TestLevelNeed(t *testing.T) {
	tests := []struct {
		level        Level
		factor, need int // need 0: refused
	}{
		{One, 1, 1}, {One, 3, 1}, {Two, 3, 2}, {Two, 1, 0}, {Three, 2, 0}, {5, 5, 5}, {6, 5, 0},
		{Quorum, 1, 1}, {Quorum, 2, 2}, {Quorum, 3, 2}, {Quorum, 4, 3}, {Quorum, 5, 3},
		{All, 1, 1}, {Any, 3, 1}, {Any, 0, 0}, {All, 3, 3}, {All, 15, 15}, {One, 0, 0}, {Quorum, 0, 0},
	}
	for _, test := range tests {
		need, err := test.level.Need(test.factor)
		var level *LevelError
		if need != test.need || (test.need == 0) != errors.As(err, &level) {
			t.Errorf("%v.Need(%d) = %d, %v; want %d", test.level, test.factor, need, err, test.need)
		}
	}
}
