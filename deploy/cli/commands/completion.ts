import { type Command, UsageError } from "../command.ts";
import { bashCompletion } from "../completion.ts";
import { exitStatus } from "../failure.ts";

/** Made from the commands that there are, itself among them. */
export function completionCommand(commands: () => readonly Command[]): Command {
  return {
    name: "completion",
    summary: "print a script that completes this command in a shell",
    operands: [{ name: "bash", help: "the shell; bash is the only one", completion: ["bash"] }],
    options: {},
    notes: "In ~/.bashrc: source <(lobster completion bash)",
    async run(words, { io }) {
      if (words.operand("bash") !== "bash") throw new UsageError("bash is the only shell that can be completed");
      await io.output.write(bashCompletion(commands()));
      return exitStatus.ok;
    },
  };
}
