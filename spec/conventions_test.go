package spec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadServiceSettings(t *testing.T) {
	env := map[string]string{
		"SERVICE_NAME": "web", "SERVICE_TAGS": "a,b", "SERVICE_80_NAME": "http", "SERVICE_443_CHECK_HTTPS": "/up",
		"SERVICE_REGION": "eu", "service_zone": "no", "SERVICE_": "no", "SERVICE_9": "nine", "PATH": "/bin", "SERVICE_8080_NAME": "other",
	}
	labels := map[string]string{"SERVICE_TAGS": "c", "SERVICE_80_TAGS": "d", "SERVICE_NAME": "label", "SERVICE_Check_Interval": "5s"}
	cases := []struct {
		port int
		want map[string]string
		own  []string
	}{
		{80, map[string]string{"name": "http", "tags": "d", "region": "eu", "9": "nine", "check_interval": "5s"}, []string{"name", "tags"}},
		{443, map[string]string{"name": "label", "tags": "c", "region": "eu", "9": "nine", "check_interval": "5s", "check_https": "/up"}, []string{"check_https"}},
		{1, map[string]string{"name": "label", "tags": "c", "region": "eu", "9": "nine", "check_interval": "5s"}, nil},
	}
	for _, c := range cases {
		got := ReadServiceSettings(c.port, env, labels)
		if d := cmp.Diff(c.want, got.Values); d != "" {
			t.Errorf("port %d (-want +got):\n%s", c.port, d)
		}
		for _, key := range c.own {
			if !got.Own[key] {
				t.Errorf("port %d: %s was not said of the port", c.port, key)
			}
		}
	}
	got := ReadServiceSettings(443, env, labels)
	if d := cmp.Diff(map[string]string{"region": "eu", "9": "nine"}, got.ServiceAttributes()); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"check_interval": "5s", "check_https": "/up"}, got.CheckSettings()); d != "" {
		t.Errorf("check (-want +got):\n%s", d)
	}
}

func TestNamesService(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"SERVICE_NAME", "web", true}, {"SERVICE_80_NAME", "web", true}, {"SERVICE_NAME", "", false},
		{"SERVICE_TAGS", "web", false}, {"SERVICE_80_TAGS", "x", false}, {"NAME", "web", false},
	} {
		if got := NamesService(nil, map[string]string{c.name: c.value}); got != c.want {
			t.Errorf("%s=%s: %v", c.name, c.value, got)
		}
	}
}

func TestSplitTags(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, ",,": nil, "a": {"a"}, "a,b": {"a", "b"}, ",a,,b,": {"a", "b"},
		`a\,b,c`: {"a,b", "c"}, `\,`: {","}, `/(;\,:-_)/`: {"/(;,:-_)/"}, `a\b`: {`a\b`}, `a\`: {`a\`}, `a\\,b`: {`a\,b`},
	} {
		if d := cmp.Diff(want, SplitTags(text)); d != "" {
			t.Errorf("%q (-want +got):\n%s", text, d)
		}
	}
}

func FuzzServiceSettings(f *testing.F) {
	f.Add("SERVICE_80_NAME", `a\,b,`, 80)
	f.Fuzz(func(t *testing.T, name, value string, port int) {
		for _, tag := range SplitTags(value) {
			if tag == "" {
				t.Error("an empty tag")
			}
		}
		s := ReadServiceSettings(port, map[string]string{name: value})
		if len(s.Values) > 1 || s.Values[""] != "" {
			t.Errorf("%q: %v", name, s.Values)
		}
	})
}
