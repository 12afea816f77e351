interface Page {
  readonly page?: { readonly nextPageToken: string } | undefined;
}

/** Most that one page may hold. */
export const pageSize = 500;

/** Every page of a list, in order. Throws when a server repeats itself, which would never end. */
export async function* pages<Answer extends Page>(
  list: (page: { pageSize: number; pageToken: string }) => Promise<Answer>,
): AsyncGenerator<Answer> {
  for (let pageToken = ""; ; ) {
    const answer = await list({ pageSize, pageToken });
    yield answer;
    const next = answer.page?.nextPageToken ?? "";
    if (next === "") return;
    if (next === pageToken) throw new Error("the server answers the same page again and again");
    pageToken = next;
  }
}

/** The items of every page. */
export async function allOf<Answer extends Page, Item>(
  list: (page: { pageSize: number; pageToken: string }) => Promise<Answer>,
  items: (answer: Answer) => readonly Item[],
): Promise<Item[]> {
  const all: Item[] = [];
  for await (const answer of pages(list)) all.push(...items(answer));
  return all;
}
