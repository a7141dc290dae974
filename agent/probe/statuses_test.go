package probe

import "testing"

func TestAccepted(t *testing.T) {
	for _, c := range []struct {
		code int
		list string
		want bool
	}{
		{200, "", true}, {302, "", true}, {400, "", false}, {503, "", false},
		{200, "200", true}, {204, "200", false}, {204, "200,204", true}, {20, "200", false},
	} {
		if got := accepted(c.code, c.list); got != c.want {
			t.Errorf("%d of %q: %v", c.code, c.list, got)
		}
	}
}
