package calico

import (
	"strings"
	"testing"
)

func TestSelector(t *testing.T) {
	labels := map[string]string{"rack": "r1", "rr": "", "zone/name": "eu-1", "has": "x"}
	for text, want := range map[string]bool{
		"": true, "all()": true, "!all()": false, "has(rr)": true, "!has(rr)": false, "has(none)": false, "has == 'x'": true,
		"rack == 'r1'": true, `rack == "r2"`: false, "rack != 'r1'": false, "none != 'r1'": true, "none == ''": false, "rr == ''": true,
		"rack in {'r1', 'r2'}": true, "rack in { }": false, "rack not in {'r2'}": true, "none not in {'r1'}": true, "none in {'r1'}": false,
		"zone/name contains 'u-'": true, "zone/name starts with 'eu'": true, "zone/name ends with 'eu'": false,
		"rack == 'r2' || has(rr) && rack == 'r1'": true, "(rack == 'r2' || has(rr)) && rack == 'r2'": false, "!(rack=='r2')&&has(rr)": true,
	} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := s.Matches(labels); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"rack": "ends too early", "rack = 'a'": "not expected", "rack == a": "quoted value", "'a' == 'b'": "want a label", "global()": "not supported",
		"rack == 'a": "no end", "rack in 'a'": "want {", "rack in {'a' 'b'}": "want }", "(rack == 'a'": "too early", "rack == 'a' rack": "not expected",
		"rack like 'a'": "no comparison", "rack starts 'a'": "want with", strings.Repeat("!", 1000) + "all()": "too deeply", "has('a')": "wants a label", "all() &&": "too early",
	} {
		if _, err := ParseSelector(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if (Selector{}).Matches(labels) {
		t.Error("the zero selector means nothing")
	}
}

func FuzzParseSelector(f *testing.F) {
	for _, s := range []string{"all()", "rack == 'r1' && (has(a) || !b in {'c','d'})", "a not in {\"x\"}", "a starts with ''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSelector(text)
		if s.Matches(map[string]string{"a": "x"}) && err != nil {
			t.Error("a bad selector matches")
		}
	})
}
