import type { ChildProcess } from "node:child_process";

/** Calls what a child process does under its names, over IPC; each message is `{ id, name, parameter }`, each answer `{ id, result }`. */
export function callsOf(child: ChildProcess): (name: string, parameter: unknown) => Promise<unknown> {
  let last = 0;
  return (name, parameter) =>
    new Promise((resolve, reject) => {
      const id = ++last;
      const ended = (): void => reject(new Error(`the process ended in ${name}`));
      child.once("exit", ended);
      child.on("message", function answered(message: { id: number; result: unknown }) {
        if (message.id !== id) return;
        child.off("exit", ended).off("message", answered);
        resolve(message.result);
      });
      child.send({ id, name, parameter });
    });
}
