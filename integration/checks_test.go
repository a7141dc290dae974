//go:build integration

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

var errNotYet = errors.New("not yet")

// differs compares two sets for Eventually.
func differs(want, got map[string]bool, err error) error {
	if err != nil {
		return err
	}
	if !maps.Equal(want, got) {
		return fmt.Errorf("got %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// contains is an error unless text holds all parts, whatever the case.
func contains(text string, parts ...string) error {
	for _, part := range parts {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
			return fmt.Errorf("no %q in %s", part, text)
		}
	}
	return nil
}

// definitions are all stored apps, to see that nothing changed.
func definitions(b *rig.Berth) string {
	b.Want(200, "GET", "/v2/apps", nil, nil)
	_, text := b.Do("GET", "/v2/apps", nil)
	var list struct {
		Apps []struct{ ID, Version string }
	}
	_ = json.Unmarshal([]byte(text), &list)
	return fmt.Sprint(list.Apps)
}

// zabbixItem asks as berth-zabbix does: one key a line, the answer until the end.
func zabbixItem(b *rig.Berth, key string) (string, error) {
	c, err := net.Dial("unix", filepath.Join(b.Dir, "run", "zabbix.sock"))
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, key+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return strings.TrimSpace(string(answer)), err
}

// discovered are the addresses of an app's running instances in Zabbix's low-level discovery.
func discovered(b *rig.Berth, app string) (map[string]bool, error) {
	text, err := zabbixItem(b, "berth.discovery")
	if err != nil {
		return nil, err
	}
	var rows []map[string]string
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return nil, fmt.Errorf("%w in %s", err, text)
	}
	found := map[string]bool{}
	for _, r := range rows {
		if r["{#APP}"] == app {
			found[r["{#IP}"]] = true
		}
	}
	return found, nil
}
