package api

import "testing"

func TestScraped(t *testing.T) {
	for _, c := range []struct{ listens, want string }{
		{":9109", "h1:9109"}, {"0.0.0.0:9109", "h1:9109"}, {"[::]:9109", "h1:9109"}, {"10.0.0.11:9109", "10.0.0.11:9109"},
		{"[fd00::1]:9109", "[fd00::1]:9109"}, {"metrics.example.com:80", "metrics.example.com:80"}, {"", ""}, {"nonsense", ""}, {"h1:", ""},
	} {
		if got := scraped("h1", c.listens); got != c.want {
			t.Errorf("%q: %q, want %q", c.listens, got, c.want)
		}
	}
}
