// What the library of every NPU vendor must do: run models with states, and be found or refused.

import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, realpathSync, symlinkSync } from "node:fs";
import { join, relative } from "node:path";
import type { NpuModel, NpuModelOptions } from "../../../ffi/npu/model.ts";
import { compileStandIns, standInEnvironment } from "../../_standins.ts";
import { failureOf, scratchFolder } from "../../_support.ts";
import {
  compile,
  doublingGraph,
  fileOf,
  growthOf,
  inProcessOf,
  inputAt,
  liveObjects,
  loadFailure,
  modelFile,
  statefulOptions as options,
  Reference,
  runOf,
  STATES,
  type Subject,
  standInsOf,
  testAlone,
} from "./_card.ts";

/** Cases for a library that is loaded in this thread. @param file path of the test file */
export function modelCases(subject: Subject, file: string): void {
  const { files, open } = subject;
  const path = modelFile(subject, "stateful");
  const live = () => liveObjects(subject);
  const none = files.map(() => 0);
  function withModel(how: NpuModelOptions, use: (model: NpuModel) => void): void {
    const model = open(how);
    try {
      use(model);
    } finally {
      model.close();
    }
  }

  test("tensors have the graph's names and shapes, without those of the state, and start at zero", () => {
    withModel(options(path), ({ inputs, outputs }) => {
      expect(inputs.map(({ name, shape }) => [name, [...shape]])).toEqual([["x", [1, 2, 3]]]);
      expect(outputs.map(({ name, shape, data }) => [name, [...shape], data.length])).toEqual([
        ["y", [1, 2, 3], 6],
      ]);
      expect(Array.from(inputs[0].data)).toEqual(Array(6).fill(0));
    });
  });

  test("each lane gives what ONNX Runtime gives, step by step", () => {
    const references = [new Reference(), new Reference(), new Reference()];
    withModel(options(path, 3), (model) => {
      for (let step = 0; step < 12; step++) {
        const lane = [0, 0, 1, 2, 1][step % 5];
        expect(runOf(model, lane, inputAt(step))).toEqual(references[lane].step(inputAt(step)));
        model.keep();
      }
    });
  });

  test("a run that is not kept can be repeated with other inputs", () => {
    const reference = new Reference();
    withModel(options(path, 2), (model) => {
      for (let step = 0; step < 4; step++) {
        runOf(model, 0, inputAt(step + 100));
        runOf(model, 1, inputAt(step + 200));
        expect(runOf(model, 0, inputAt(step))).toEqual(reference.step(inputAt(step)));
        model.keep();
      }
      expect(Array.from(model.save(1)[1])).toEqual([0, 0]);
    });
  });

  test("a lane is saved, put back and reset", () => {
    withModel(options(path, 2), (model) => {
      for (let step = 0; step < 3; step++) {
        runOf(model, 0, inputAt(step));
        model.keep();
      }
      const saved = model.save(0);
      expect(Array.from(saved[1])).toEqual([3, 3]);
      const next = runOf(model, 0, inputAt(3));
      model.keep();
      expect(runOf(model, 0, inputAt(3))).not.toEqual(next);
      model.restore(1, saved);
      expect(runOf(model, 1, inputAt(3))).toEqual(next);
      model.reset(0);
      expect(model.save(0).map((values) => Array.from(values))).toEqual([Array(6).fill(0), [0, 0]]);
      expect(runOf(model, 0, inputAt(0))).toEqual(new Reference().step(inputAt(0)));
      expect(Array.from(model.save(1)[1])).toEqual([3, 3]);
      model.reset(1);
      model.save(1);
      expect(Array.from(saved[1])).toEqual([3, 3]); // a copy, not the memory that states travel through
    });
  });

  test("a lane takes a state that it never had itself", () => {
    withModel(options(path, 2), (model) => {
      const state = [Float32Array.from({ length: 6 }, (_, i) => i / 7), Float32Array.of(7, 8)];
      model.restore(1, state);
      expect(model.save(0).map((values) => Array.from(values))).toEqual([Array(6).fill(0), [0, 0]]);
      expect(model.save(1)).toEqual(state);
    });
  });

  test("what a program does wrong is refused, and after close() nothing is left to touch", () => {
    const model = open(options(path, 2));
    const { data } = model.outputs[0];
    expect(() => model.run(2)).toThrow("lane 2 of 2");
    expect(() => model.reset(-1)).toThrow(RangeError);
    expect(() => model.keep()).toThrow("nothing to keep");
    expect(() => model.finish()).toThrow("nothing to finish");
    model.start(0);
    expect(() => model.start(1)).toThrow("lane 0 has begun and not finished");
    expect(() => model.keep()).toThrow("nothing to keep");
    model.finish();
    model.run(0);
    model.keep();
    expect(() => model.keep()).toThrow("nothing to keep");
    expect(() => model.restore(0, [new Float32Array(6)])).toThrow("a state of [6] values, not [6,2]");
    expect(() => model.restore(0, model.save(0).slice(1))).toThrow(RangeError);
    model.close();
    model.close();
    expect(data.length).toBe(0);
    expect(() => model.run(0)).toThrow("closed");
    expect(() => model.save(0)).toThrow("closed");
    expect(live()).toEqual(none);
  });

  test("two models of a thread do not disturb each other, and the first may be closed first", () => {
    const [first, second] = [open(options(path)), open(options(path))];
    const references = [new Reference(), new Reference()];
    for (let step = 0; step < 3; step++) {
      for (const [i, model] of [first, second].entries()) {
        expect(runOf(model, 0, inputAt(step + i))).toEqual(references[i].step(inputAt(step + i)));
        model.keep();
      }
    }
    first.close();
    expect(live()).not.toEqual(none);
    expect(runOf(second, 0, inputAt(3))).toEqual(references[1].step(inputAt(3)));
    second.close();
    expect(live()).toEqual(none);
  });

  test("without states lanes do not differ", () => {
    withModel(options(modelFile(subject, "doubling", doublingGraph([2, 3])), 2, []), (model) => {
      expect(runOf(model, 1, [1, 2, 3, 4, 5, 6])).toEqual([2, 4, 6, 8, 10, 12]);
      model.keep();
      expect(model.save(1)).toEqual([]);
    });
  });

  test("states that do not fit each other are refused", () => {
    const error = failureOf(() => open(options(path, 1, [["state.sum", "next.steps"]])));
    expect(error.message).toContain("state.sum is [1,2,3] and its next next.steps is [1,2,1]");
    expect(live()).toEqual(none);
  });

  testAlone(file, "10,000 rounds of opening, running and closing leave nothing behind", () => {
    const growth = growthOf(10_000, (round) => {
      const model = open(options(path, 1 + (round % 3)));
      runOf(model, 0, inputAt(round));
      model.keep();
      model.close();
    });
    expect(live()).toEqual(none);
    expect(growth).toBeLessThan(16e6);
  });
}

/** What is wrong with a model file, how it is made, and what the refusal and the hint say. */
export type Refusal = [title: string, make: () => string, what: string, hint: string];

export function refusalCases(subject: Subject, refusals: Refusal[]): void {
  test.each(refusals)("refuses a file %s", (_title, make, what, hint) => {
    const path = make();
    const error = failureOf(() => subject.open(options(path, 1, STATES)));
    expect(error.message).toContain(path);
    expect(error).toMatchObject({
      code: "NPU_MODEL_INVALID",
      message: expect.stringContaining(what),
      hint: expect.stringContaining(hint),
    });
    expect(liveObjects(subject)).toEqual(subject.files.map(() => 0));
  });
}

/** Each case runs in a process of its own. */
export function findingCases(subject: Subject): void {
  const { files, from, places, symbols, title, variable, version } = subject;
  const [file] = files;
  const load = (override: string, allowStandIn = true) => loadFailure(subject, override, allowStandIn);

  test("a folder will do", () => {
    expect(load(compileStandIns().folder).code).toBe("none");
  });

  test("a stand-in is refused unless it is wanted", () => {
    const [path] = standInsOf(subject);
    for (const override of [path, relative(process.cwd(), path)]) {
      const { code, hint, message } = load(override, false);
      expect(code).toBe("LIBRARY_MISMATCH");
      expect(message).toContain(`${path} is a stand-in for ${title}`);
      expect(hint).toContain(`unset ${variable}`);
    }
  });

  test("without a library, the error says where it looked and where to get one", () => {
    const { code, hint, message } = load("");
    expect(code).toBe("LIBRARY_MISSING");
    for (const part of [...places, "cannot open shared object"]) expect(message).toContain(part);
    for (const part of [from, variable]) expect(hint).toContain(part);
    expect(load(`/nowhere/${file}`)).toEqual({
      code: "LIBRARY_MISSING",
      message: `${title} (${file}) was not found; tried /nowhere/${file}`,
      hint: `correct ${variable}`,
    });
  });

  test("a library that lacks a function is refused, and so is a text file", () => {
    const [lacking, ...others] = Object.keys(symbols);
    const path = compile(
      `lacking-${file}`,
      file,
      others.map((name) => `void *${name}(void) { return 0; }`).join("\n"),
    );
    const { code, message } = load(path);
    expect(code).toBe("LIBRARY_MISMATCH");
    for (const part of [path, lacking]) expect(message).toContain(part);
    expect(load(fileOf(`text-${file}`, "no library")).code).toBe("LIBRARY_MISMATCH");
  });

  test("a library that the loader finds by name, through a link, has the path of its real file", () => {
    const folder = join(realpathSync(scratchFolder()), `linked-${file}`);
    mkdirSync(folder, { recursive: true });
    for (const [i, path] of standInsOf(subject).entries()) {
      copyFileSync(path, join(folder, `${files[i]}.1.2.3`));
      symlinkSync(`${files[i]}.1.2.3`, join(folder, files[i]));
    }
    const body = `result.found = load({ override: "", allowStandIn: true });`;
    const { found } = inProcessOf<{ found: object }>(subject, body, { LD_LIBRARY_PATH: folder });
    expect(found).toEqual({ path: join(folder, `${file}.1.2.3`), version });
  });

  test("describing needs no device and never throws", () => {
    const described = (overrides: string[]) => {
      const body = `result.all = ${JSON.stringify(overrides)}.map((override) => describe({ override, allowStandIn: true }));`;
      return inProcessOf<{ all: ReturnType<Subject["describe"]>[] }>(subject, body, standInEnvironment()).all;
    };
    const [path] = standInsOf(subject);
    const [first, again] = described([path, ""]); // open already
    expect(first).toMatchObject({ library: { path, version }, problem: "", hint: "" });
    expect(again).toEqual(first);
    const [unknown] = described([""]);
    expect(unknown).toMatchObject({ library: null, problem: expect.stringContaining("was not found") });
    expect(unknown.hint).toContain(variable);
  });
}
