package document

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
)

func TestLocal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hook := test.NewNullLogger()
		file := filepath.Join(t.TempDir(), "host.json")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := NewLocal(file, "h1", log); err == nil {
			t.Error("without a file")
		}
		write(`{"Schema":1,"Pools":[{"Name":"a","CIDR":"10.1.0.0/16"}],"Blocks":["10.1.4.0/26"]}`)
		l, err := NewLocal(file, "h1", log)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		want := func(pool string) {
			t.Helper()
			time.Sleep(every) // the bubble's
			synctest.Wait()
			d, _ := l.Document().Get()
			if d.Host != "h1" || len(d.Pools) != 1 || d.Pools[0].Name != pool {
				t.Errorf("%+v", d)
			}
		}
		want("a")
		write(`{"Schema":1,"Host":"h1","Pools":[{"Name":"bb","CIDR":"10.1.0.0/16"}]}`)
		want("bb")
		for text, reason := range map[string]string{`{`: "unexpected end", `{"Schema":2}`: "reads 1", `{"Schema":1,"Host":"h2"}`: `for host "h2"`} {
			write(text)
			want("bb") // the last good one
			if e := hook.LastEntry(); e == nil || !strings.Contains(e.Data["error"].(error).Error(), reason) {
				t.Errorf("%s: said %v", text, e)
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		want("bb")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
