package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

type applyFlags struct {
	waitFlags
	files []string
	force bool
	merge bool
}

func newApplyCommand(c *cli) *cobra.Command {
	f := &applyFlags{}
	cmd := &cobra.Command{
		Use:     "apply -f FILE|DIR|-",
		Short:   "Create or update apps, pods or a group from Marathon JSON definitions",
		GroupID: groupApps,
		Args:    cobra.NoArgs,
		Long: `Send Marathon definitions to the scheduler, byte for byte as they are in the file.

A file holds one app or pod, an array of them, or several such documents. Of a folder all *.json files are taken. Several apps
become one deployment: all are accepted or none, and dependencies among them are kept. Pods, which are known by their
"containers", follow one by one. What is in the file becomes the whole definition; with --merge, keys of an app that the file
does not have stay as they are.

An object with "groups" or "apps" is a group, with apps and groups in it to any depth. It is applied by itself. Its lists become
the whole of the group: apps that they leave out are removed. A list that is not there at all keeps what there is.

A change of "cpus" alone, within what the app holds (berth resize --help), restarts nothing: the result says "in place".

On a terminal, or with --wait, the command waits until all instances are ready and says what it waits for. Interrupting it
does not end the deployment.`,
		Example: `  berth apply -f web.json
  berth apply -f web.json -f db.json --timeout 5m
  berth apply -f apps/ --wait=false
  echo '{"id":"/shop","apps":[{"id":"web","cmd":"sleep 1000"}]}' | berth apply -f -
  berth apply -f pod.json
  generate-app | berth apply -f -`,
		RunE: c.verb(func(ctx context.Context, a *apiClient, _ []string) error { return c.apply(ctx, a, f) }),
	}
	cmd.Flags().StringArrayVarP(&f.files, "file", "f", nil, "a file, a folder, or - for standard input; repeatable")
	cmd.Flags().BoolVar(&f.force, "force", false, "end running deployments of the same apps")
	cmd.Flags().BoolVar(&f.merge, "merge", false, "keep what the file does not mention")
	_ = cmd.MarkFlagRequired("file")
	_ = cmd.MarkFlagFilename("file", "json")
	f.register(cmd)
	return cmd
}

// definition is one app, one pod, or one group, as it stands in a file.
type definition struct {
	pod    bool
	id     spec.AppID
	group  bool
	body   json.RawMessage
	source string
}

// applied is a line of the result.
type applied struct {
	App          spec.AppID `json:"app,omitempty"`
	Group        spec.AppID `json:"group,omitempty"`
	Change       string     `json:"change"` // created, updated, or updated in place, no restart
	DeploymentID string     `json:"deploymentId"`
	Version      string     `json:"version"`
}

func (c *cli) apply(ctx context.Context, a *apiClient, f *applyFlags) error {
	defs, err := readDefinitions(f.files, c.in)
	if err != nil {
		return err
	}
	if defs[0].group {
		return c.applyGroup(ctx, a, f, defs[0])
	}
	pods := slices.DeleteFunc(slices.Clone(defs), func(d definition) bool { return !d.pod })
	defs = slices.DeleteFunc(defs, func(d definition) bool { return d.pod })
	if f.merge && len(pods) > 0 {
		return fmt.Errorf("%s: --merge is for apps; a pod is always given as a whole", sources(pods))
	}
	before, err := a.ids()
	if err != nil {
		return err
	}
	rows := []applied{}
	if len(defs) > 0 {
		if rows, err = applyApps(a, defs, before, f); err != nil {
			return err
		}
	}
	var failed error
	for _, d := range pods {
		row, err := a.applyPod(d, slices.Contains(before, string(d.id)), f.force)
		if err != nil {
			failed = err // what was started before is told
			break
		}
		rows = append(rows, row)
	}
	if c.output == "json" {
		err = c.printJSON(rows)
	} else {
		for _, r := range rows {
			fmt.Fprintf(c.out, "%s %s (deployment %s)\n", r.App, r.Change, r.DeploymentID)
		}
	}
	if err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	return c.awaitAll(ctx, a, f.waitFlags, rows)
}

// awaitAll follows the deployments of the rows, one after the other.
func (c *cli) awaitAll(ctx context.Context, a *apiClient, f waitFlags, rows []applied) error {
	for len(rows) > 0 {
		id := rows[0].DeploymentID
		var ids []spec.AppID
		for len(rows) > 0 && rows[0].DeploymentID == id {
			ids, rows = append(ids, rows[0].App), rows[1:]
		}
		if err := c.await(ctx, a, f, id, ids); err != nil {
			return err
		}
	}
	return nil
}

// applyApps sends all apps as one deployment.
func applyApps(a *apiClient, defs []definition, before []string, f *applyFlags) (rows []applied, err error) {
	path, body := "/v2/apps", defs[0].body
	what := sources(defs)
	if len(defs) == 1 {
		path += string(defs[0].id)
	} else if body, err = json.Marshal(bodies(defs)); err != nil {
		return nil, fmt.Errorf("join definitions: %w", err)
	}
	query := fmt.Sprintf("?partialUpdate=%t&force=%t", f.merge, f.force)
	var result struct{ Version, DeploymentID string }
	resp, err := a.do(http.MethodPut, path+query, nil, body)
	if err != nil {
		return nil, doing(err, "apply %s", what)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		return nil, fmt.Errorf("read the answer to apply %s: %w", what, err)
	}
	inPlace := strings.Split(resp.Header.Get(api.InPlaceHeader), ",")
	for _, d := range defs {
		row := applied{App: d.id, Change: "created", DeploymentID: result.DeploymentID, Version: result.Version}
		if slices.Contains(before, string(d.id)) {
			row.Change = "updated"
		}
		if slices.Contains(inPlace, string(d.id)) {
			row.Change = "updated in place, no restart"
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func bodies(defs []definition) []json.RawMessage {
	out := make([]json.RawMessage, 0, len(defs))
	for _, d := range defs {
		out = append(out, d.body)
	}
	return out
}

func sources(defs []definition) string {
	var out []string
	for _, d := range defs {
		if !slices.Contains(out, d.source) {
			out = append(out, d.source)
		}
	}
	return strings.Join(out, ", ")
}

// readDefinitions reads all apps of all sources, in order. An app that stands twice is an error: one would win silently.
func readDefinitions(files []string, stdin io.Reader) ([]definition, error) {
	var out []definition
	for _, file := range files {
		paths, err := expand(file)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			defs, err := readFile(path, stdin)
			if err != nil {
				return nil, err
			}
			out = append(out, defs...)
		}
	}
	seen := make(map[spec.AppID]string)
	for _, d := range out {
		if first, ok := seen[d.id]; ok {
			return nil, fmt.Errorf("%s is defined twice: in %s and in %s", d.id, first, d.source)
		}
		seen[d.id] = d.source
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no definition found", strings.Join(files, ", "))
	}
	if i := slices.IndexFunc(out, func(d definition) bool { return d.group }); i >= 0 && len(out) > 1 {
		return nil, fmt.Errorf("%s: group %s is one deployment of its own; apply it by itself", out[i].source, out[i].id)
	}
	return out, nil
}

// expand turns a folder into its *.json files.
func expand(file string) ([]string, error) {
	if file == "-" {
		return []string{file}, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	if !info.IsDir() {
		return []string{file}, nil
	}
	paths, err := filepath.Glob(filepath.Join(escapeGlob(file), "*.json"))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("folder %s holds no *.json file", file)
	}
	return paths, err
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func readFile(path string, stdin io.Reader) ([]definition, error) {
	source := path
	var data []byte
	var err error
	if path == "-" {
		source = "standard input"
		data, err = io.ReadAll(stdin)
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	return splitDefinitions(data, source)
}

// splitDefinitions finds the apps in a file without changing their bytes.
func splitDefinitions(data []byte, source string) ([]definition, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var out []definition
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var document json.RawMessage
		err := dec.Decode(&document)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s%s: not JSON: %w", source, position(data, err, dec.InputOffset()), err)
		}
		items := []json.RawMessage{document}
		if document[0] == '[' {
			if err := json.Unmarshal(document, &items); err != nil {
				return nil, fmt.Errorf("%s: %w", source, err)
			}
		}
		for _, item := range items {
			d, err := newDefinition(item, source)
			if err != nil {
				return nil, fmt.Errorf("%s, document %d: %w", source, len(out)+1, err)
			}
			out = append(out, d)
		}
	}
}

func newDefinition(body json.RawMessage, source string) (definition, error) {
	var keys struct {
		ID         *string
		Apps       json.RawMessage
		Groups     json.RawMessage
		Containers json.RawMessage
	}
	if body[0] != '{' {
		return definition{}, errors.New("a definition is a JSON object")
	}
	err := json.Unmarshal(body, &keys)
	switch {
	case keys.Apps != nil || keys.Groups != nil:
		if keys.ID == nil || *keys.ID == "" {
			return definition{}, errors.New(`this group has no "id" ("/" is everything that there is)`)
		}
		return definition{id: absolute(*keys.ID), group: true, body: body, source: source}, nil
	case keys.ID == nil || strings.Trim(*keys.ID, "/") == "":
		if err != nil {
			return definition{}, fmt.Errorf("no usable \"id\": %w", err)
		}
		return definition{}, errors.New(`it has no "id"`)
	}
	return definition{pod: keys.Containers != nil, id: absolute(*keys.ID), body: body, source: source}, nil
}

// position is where in the file a syntax error is: ":LINE:COLUMN".
func position(data []byte, err error, offset int64) string {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		offset = max(syntax.Offset-1, 0)
	case errors.Is(err, io.ErrUnexpectedEOF):
		offset = int64(len(data))
	}
	before := data[:min(int(offset), len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf(":%d:%d", line, column)
}
