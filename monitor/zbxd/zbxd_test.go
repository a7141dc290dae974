package zbxd

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// frame makes any header, also a bad one.
func frame(flags byte, size, whole uint64, data []byte) []byte {
	b := append([]byte(magic), flags)
	if flags&flagLarge != 0 {
		b = binary.LittleEndian.AppendUint64(b, size)
		b = binary.LittleEndian.AppendUint64(b, whole)
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		b = binary.LittleEndian.AppendUint32(b, uint32(whole))
	}
	return append(b, data...)
}

func packed(t testing.TB, data string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = io.WriteString(z, data)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRead(t *testing.T) {
	const text = "agent.ping"
	long := strings.Repeat("x", 100<<10)
	small, bomb := packed(t, text), packed(t, strings.Repeat("x", 1<<20))
	for name, test := range map[string]struct {
		in   []byte
		want string
		err  string
	}{
		"plain":                 {in: frame(1, 10, 0, []byte(text)), want: text},
		"large":                 {in: frame(5, 10, 0, []byte(text)), want: text},
		"empty":                 {in: frame(1, 0, 0, nil), want: ""},
		"long":                  {in: frame(1, uint64(len(long)), 0, []byte(long)), want: long},
		"what follows is left":  {in: frame(1, 5, 0, []byte(text)), want: "agent"},
		"compressed":            {in: frame(3, uint64(len(small)), 10, small), want: text},
		"compressed and large":  {in: frame(7, uint64(len(small)), 10, small), want: text},
		"no frame":              {in: []byte("agent.ping\n agent.ping"), err: "do not begin with ZBXD"},
		"flags of the future":   {in: frame(9, 10, 0, []byte(text)), err: "unknown flags 0x09"},
		"no protocol":           {in: frame(0, 10, 0, []byte(text)), err: "unknown flags"},
		"too long":              {in: frame(1, 1<<20, 0, nil), err: "1048576 bytes, at most 204800"},
		"far too long":          {in: frame(5, 1<<63, 0, nil), err: "at most 204800"},
		"cut":                   {in: frame(1, 11, 0, []byte(text)), err: "unexpected EOF"},
		"cut, long":             {in: frame(1, 150<<10, 0, []byte(long)), err: "unexpected EOF"},
		"cut header":            {in: []byte("ZBXD\x01\x00"), err: "unexpected EOF"},
		"cut large header":      {in: frame(5, 0, 0, nil)[:15], err: "unexpected EOF"},
		"unpacked too long":     {in: frame(3, uint64(len(bomb)), 1<<20, bomb), err: "when unpacked"},
		"unpacked more than so": {in: frame(3, uint64(len(bomb)), 1000, bomb), err: "more than the announced 1000"},
		"unpacked less than so": {in: frame(3, uint64(len(small)), 11, small), err: "unexpected EOF"},
		"not packed":            {in: frame(3, 10, 10, []byte(text)), err: "unpack"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(iotest.OneByteReader(bytes.NewReader(test.in)), 200<<10)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, want %q", err, test.err)
				}
				return
			}
			if err != nil || string(got) != test.want {
				t.Errorf("%.40q, %v", got, err)
			}
		})
	}
}

func TestFrameIsAsZabbixReadsIt(t *testing.T) {
	if got := string(Frame([]byte("1"))); got != "ZBXD\x01\x01\x00\x00\x00\x00\x00\x00\x001" {
		t.Errorf("%q", got)
	}
}

func TestPassiveChecks(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"plain":           {"agent.ping", "value of agent.ping"},
		"plain, old":      {"agent.ping\n", "value of agent.ping"},
		"plain, none":     {"no.such", "ZBX_NOTSUPPORTED\x00nobody knows \"no.such\""},
		"nothing":         {"\n", "ZBX_NOTSUPPORTED\x00the request has no item key"},
		"7.0":             {`{"request":"passive checks","data":[{"key":"agent.ping","timeout":3}]}`, `{"version":"7.0.0","variant":1,"data":[{"value":"value of agent.ping"}]}`},
		"7.0, two":        {`{"request":"passive checks","data":[{"key":"no.such"},{"key":"b"}]}`, `{"version":"7.0.0","variant":1,"data":[{"error":"nobody knows \"no.such\""},{"value":"value of b"}]}`},
		"7.0, other":      {`{"request":"active checks","data":[]}`, `{"version":"7.0.0","variant":1,"error":"the request \"active checks\" is unknown, only \"passive checks\" is answered"}`},
		"7.0, none":       {`{"request":"passive checks"}`, `{"version":"7.0.0","variant":1,"error":"the request has 0 items, between 1 and 64 are answered"}`},
		"7.0, not a JSON": {`{"request"`, `{"version":"7.0.0","variant":1,"error":"read the request: unexpected end of JSON input"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(respond([]byte(test.in))); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// respond answers every key but one.
func respond(data []byte) []byte {
	q, err := ParseRequest(data)
	if err != nil {
		return q.AppendFault(nil, err)
	}
	var results []Result
	for _, key := range q.Keys {
		r := Result{Value: []byte("value of " + key)}
		if key == "no.such" {
			r = Result{Err: errors.New(`nobody knows "no.such"`)}
		}
		results = append(results, r)
	}
	return q.AppendAnswer(nil, results...)
}

func TestParseAnswer(t *testing.T) {
	if v, err := ParseAnswer([]byte("1")); v != "1" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := ParseAnswer([]byte("ZBX_NOTSUPPORTED\x00why")); err == nil || err.Error() != "why" {
		t.Errorf("%v", err)
	}
	if _, err := ParseAnswer([]byte(NotSupported)); err == nil {
		t.Error("no error")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(frame(1, 10, 0, []byte("agent.ping")))
	f.Add(frame(7, 20, 10, packed(f, "agent.ping")))
	f.Add([]byte("ZBXD"))
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 10
		got, err := Read(bytes.NewReader(in), limit)
		if err != nil {
			return
		}
		if len(got) > limit {
			t.Fatalf("%d bytes", len(got))
		}
		again, err := Read(bytes.NewReader(Frame(got)), limit)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q became %q, %v", got, again, err)
		}
	})
}

func FuzzPassive(f *testing.F) {
	for _, seed := range []string{"agent.ping", `{"request":"passive checks","data":[{"key":"a\u0000\"\\","timeout":3}]}`, "{}", "\xff\n\x01\"\\"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		q, err := ParseRequest(in)
		if err == nil && (len(q.Keys) == 0 || len(q.Keys) > maxKeys || !q.JSON && len(q.Keys) != 1) {
			t.Fatalf("%+v", q)
		}
		if out := respond(in); q.JSON && !json.Valid(out) {
			t.Fatalf("%q", out)
		}
		var text string
		if err := json.Unmarshal(AppendString(nil, in), &text); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if utf8.Valid(in) && text != string(in) {
			t.Fatalf("%q became %q", in, text)
		}
	})
}
